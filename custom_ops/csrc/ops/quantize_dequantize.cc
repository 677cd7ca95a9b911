#include "ops/cast_attributes.h"
#include "ops/custom_op.h"
#include "ops/operators.h"

namespace onnxbf {
namespace {

// float32 to a format and back, in one pass.
class QuantizeDequantize {
 public:
  static constexpr const char* kName = "QuantizeDequantize";
  static constexpr ort::Parameter kInputs[] = {
      {ort::kFloat}, {ort::kInt64, ort::kOptional}, {ort::kInt64, ort::kOptional}};
  static constexpr ort::Parameter kOutputs[] = {{ort::kFloat}};
  static constexpr bool kInPlace = true;

  static void infer(const ort::Inference& node) { node.output_like_input(ort::kFloat); }

  explicit QuantizeDequantize(const ort::KernelAttributes& node) : cast_(node) {}

  void compute(const ort::Context& context) const {
    const RandomPlace random(cast_, context);
    const ort::Tensor x = context.input(0);
    const auto* in = static_cast<const float*>(x.data);
    auto* out = static_cast<float*>(context.output(0, ort::kFloat, x.shape));
    context.parallel(x.count, [&](int64_t begin, int64_t end) {
      quantize_dequantize(cast_.spec, random.key, in + begin, out + begin, random.offset + begin,
                          random.offset + end, x.count);
    });
  }

 private:
  CastAttributes cast_;
};

}  // namespace

const ort::CustomOp* quantize_dequantize_operator(const ort::Api& api) {
  static const ort::OperatorOf<QuantizeDequantize> op(api);
  return &op;
}

}  // namespace onnxbf

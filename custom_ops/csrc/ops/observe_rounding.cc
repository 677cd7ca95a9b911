#include "ops/cast_attributes.h"
#include "ops/custom_op.h"
#include "ops/operators.h"

namespace onnxbf {
namespace {

// QuantizeDequantize, and what it did to the numbers.
class QuantizeDequantizeObserved {
 public:
  static constexpr const char* kName = "QuantizeDequantizeObserved";
  static constexpr ort::Parameter kInputs[] = {
      {ort::kFloat}, {ort::kInt64, ort::kOptional}, {ort::kInt64, ort::kOptional}};
  static constexpr ort::Parameter kOutputs[] = {{ort::kFloat}, {ort::kDouble}};
  static constexpr bool kInPlace = true;

  static void infer(const ort::Inference& node) {
    node.output_vector(1, ort::kDouble, kRoundingFields);
    node.output_like_input(ort::kFloat);
  }

  explicit QuantizeDequantizeObserved(const ort::KernelAttributes& node) : cast_(node) {}

  void compute(const ort::Context& context) const {
    const RandomPlace random(cast_, context);
    const ort::Tensor x = context.input(0);
    const auto* in = static_cast<const float*>(x.data);
    auto* out = static_cast<float*>(context.output(0, ort::kFloat, x.shape));
    auto* fields = static_cast<double*>(context.output(1, ort::kDouble, {kRoundingFields}));
    std::vector<RoundingTile> tiles(static_cast<size_t>(tiles_of(x.count)));
    context.parallel(x.count, [&](int64_t begin, int64_t end) {
      observe_rounding(cast_.spec, random.key, in + begin, out + begin, random.offset + begin,
                       random.offset + end, tiles.data() + begin / kTile);
    });
    add_up(tiles.data(), x.count, fields);
  }

 private:
  CastAttributes cast_;
};

}  // namespace

const ort::CustomOp* quantize_dequantize_observed_operator(const ort::Api& api) {
  static const ort::OperatorOf<QuantizeDequantizeObserved> op(api);
  return &op;
}

}  // namespace onnxbf

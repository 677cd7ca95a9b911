#include "ops/custom_op.h"
#include "ops/operators.h"
#include "ops/stored_formats.h"

namespace onnxbf {
namespace {

// A stored tensor to float32.
template <const StoredFormat& stored>
class Dequantize {
 public:
  static constexpr const char* kName = "Dequantize";
  static constexpr ort::Parameter kInputs[] = {{stored.type}};
  static constexpr ort::Parameter kOutputs[] = {{ort::kFloat}};
  static constexpr bool kInPlace = false;

  static void infer(const ort::Inference& node) { node.output_like_input(ort::kFloat); }

  explicit Dequantize(const ort::KernelAttributes&) {}

  void compute(const ort::Context& context) const {
    CastSpec spec{};
    spec.exponent_bits = stored.exponent_bits;
    spec.mantissa_bits = stored.mantissa_bits;
    spec.specials = stored.specials;
    const int64_t size = code_size(spec);
    const ort::Tensor x = context.input(0);
    const auto* codes = static_cast<const uint8_t*>(x.data);
    auto* out = static_cast<float*>(context.output(0, ort::kFloat, x.shape));
    context.parallel(x.count, [&](int64_t begin, int64_t end) {
      dequantize(spec, codes + begin * size, out + begin, end - begin);
    });
  }
};

template <const StoredFormat& stored>
const ort::CustomOp* dequantize_operator(const ort::Api& api) {
  static const ort::OperatorOf<Dequantize<stored>> op(api);
  return &op;
}

}  // namespace

std::array<const ort::CustomOp*, 4> dequantize_operators(const ort::Api& api) {
  return {dequantize_operator<kBfloat16>(api), dequantize_operator<kFloat16>(api),
          dequantize_operator<kFloat8E4M3FN>(api), dequantize_operator<kFloat8E5M2>(api)};
}

}  // namespace onnxbf

#include "ops/cast_attributes.h"
#include "ops/custom_op.h"
#include "ops/operators.h"
#include "ops/stored_formats.h"

namespace onnxbf {
namespace {

// The type of tensor that holds numbers of a format, kUndefined where there is none.
ort::ElementType stored_type(const CastSpec& spec) {
  for (const StoredFormat& stored : kStoredFormats) {
    if (stored.exponent_bits == spec.exponent_bits && stored.mantissa_bits == spec.mantissa_bits &&
        stored.specials == spec.specials) {
      return stored.type;
    }
  }
  return ort::kUndefined;
}

// float32 to a stored bfloat16, float16 or float8 tensor.
class Quantize {
 public:
  static constexpr const char* kName = "Quantize";
  static constexpr ort::Parameter kInputs[] = {
      {ort::kFloat}, {ort::kInt64, ort::kOptional}, {ort::kInt64, ort::kOptional}};
  // Always there, but only an optional output may have a type that no input has.
  static constexpr ort::Parameter kOutputs[] = {{ort::kUndefined, ort::kOptional}};
  static constexpr bool kInPlace = false;

  static void infer(const ort::Inference& node) { node.output_like_input(inferred_type(node)); }

  explicit Quantize(const ort::KernelAttributes& node)
      : cast_(node), type_(stored_type(cast_.spec)) {
    if (type_ != ort::kUndefined) return;
    throw ort::Error(
        "ONNX has no tensor type for this format (exponent_bits, mantissa_bits and specials must "
        "be those of bfloat16, float16, float8e4m3fn or float8e5m2): use QuantizeDequantize.");
  }

  void compute(const ort::Context& context) const {
    const RandomPlace random(cast_, context);
    const ort::Tensor x = context.input(0);
    const auto* in = static_cast<const float*>(x.data);
    auto* codes = static_cast<uint8_t*>(context.output(0, type_, x.shape));
    const int64_t size = code_size(cast_.spec);
    context.parallel(x.count, [&](int64_t begin, int64_t end) {
      quantize(cast_.spec, random.key, in + begin, codes + begin * size, random.offset + begin,
               random.offset + end);
    });
  }

 private:
  // A node that the constructor will refuse gets some type, too: for want of one, ONNX Runtime would
  // refuse it first, and not say what is wrong.
  static ort::ElementType inferred_type(const ort::Inference& node) {
    try {
      const ort::ElementType type = stored_type(read_format(node));
      return type != ort::kUndefined ? type : ort::kBfloat16;
    } catch (const ort::Error&) {
      return ort::kBfloat16;
    }
  }

  CastAttributes cast_;
  ort::ElementType type_;
};

}  // namespace

const ort::CustomOp* quantize_operator(const ort::Api& api) {
  static const ort::OperatorOf<Quantize> op(api);
  return &op;
}

}  // namespace onnxbf

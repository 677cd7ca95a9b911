#include "conv.h"

#include <utility>

#include "ops/compute_attributes.h"
#include "ops/conv_attributes.h"
#include "ops/custom_op.h"
#include "ops/operators.h"

namespace onnxbf {
namespace {

// Of operators whose second input is the first factor of their product.
ComputeAttributes read_turned(const ort::KernelAttributes& node) {
  ComputeAttributes made(node);
  std::swap(made.cast_a, made.cast_b);
  return made;
}

// nullptr where there is none: no third input, or one without elements.
const float* bias(const ort::Context& context, int64_t maps) {
  if (!context.has_input(2)) return nullptr;
  const ort::Tensor b = context.input(2);
  if (b.count == 0) return nullptr;
  if (b.shape == Sizes{maps}) return numbers(b);
  throw ort::Error("b of shape " + shape_text(b.shape) + " does not fit " + std::to_string(maps) +
                   " maps.");
}

// The shape of y: behind images and maps, the last of the sizes, as many as x has.
Sizes result_shape(const ort::Tensor& x, int64_t maps, const Sizes& sizes) {
  Sizes shape{x.shape[0], maps};
  shape.insert(shape.end(), sizes.end() - static_cast<int64_t>(x.shape.size() - 2), sizes.end());
  return shape;
}

// ONNX's Conv under an arithmetic profile.
class Conv {
 public:
  static constexpr const char* kName = "Conv";
  static constexpr ort::Parameter kInputs[] = {
      {ort::kFloat}, {ort::kFloat}, {ort::kFloat, ort::kOptional}, {ort::kInt64, ort::kOptional}};
  static constexpr ort::Parameter kOutputs[] = {{ort::kFloat}};
  static constexpr bool kInPlace = false;

  static void infer(const ort::Inference&) {}

  explicit Conv(const ort::KernelAttributes& node)
      : compute_(read_turned(node)), attributes_(node) {}

  void compute(const ort::Context& context) const {
    const ort::Tensor x = context.input(0), w = context.input(1);
    const ConvShape shape = attributes_.shape(x.shape, w.shape);
    const float* b = bias(context, w.shape[0]);
    auto* y = static_cast<float*>(
        context.output(0, ort::kFloat, result_shape(x, w.shape[0], shape.out)));
    compute_.multiply(context, conv_product(shape, numbers(x), numbers(w), b, y), 3);
  }

 private:
  ComputeAttributes compute_;
  ConvAttributes attributes_;
};

// ONNX's ConvTranspose under an arithmetic profile.
class ConvTranspose {
 public:
  static constexpr const char* kName = "ConvTranspose";
  static constexpr ort::Parameter kInputs[] = {
      {ort::kFloat}, {ort::kFloat}, {ort::kFloat, ort::kOptional}, {ort::kInt64, ort::kOptional}};
  static constexpr ort::Parameter kOutputs[] = {{ort::kFloat}};
  static constexpr bool kInPlace = false;

  static void infer(const ort::Inference&) {}

  explicit ConvTranspose(const ort::KernelAttributes& node)
      : compute_(read_turned(node)), attributes_(node) {}

  void compute(const ort::Context& context) const {
    const ort::Tensor x = context.input(0), w = context.input(1);
    const ConvShape shape = attributes_.shape(x.shape, w.shape);
    const int64_t maps = shape.groups * shape.channels;
    const float* b = bias(context, maps);
    auto* y =
        static_cast<float*>(context.output(0, ort::kFloat, result_shape(x, maps, shape.in)));
    compute_.multiply(context, conv_input_product(shape, numbers(x), numbers(w), b, y), 3);
  }

 private:
  ComputeAttributes compute_;
  ConvTransposeAttributes attributes_;
};

// The gradient of its first input, of whose numbers only the shape counts.
class ConvInputGrad {
 public:
  static constexpr const char* kName = "ConvInputGrad";
  static constexpr ort::Parameter kInputs[] = {
      {ort::kFloat}, {ort::kFloat}, {ort::kFloat}, {ort::kInt64, ort::kOptional}};  // dy, w, x
  static constexpr ort::Parameter kOutputs[] = {{ort::kFloat}};
  static constexpr bool kInPlace = false;

  static void infer(const ort::Inference&) {}

  explicit ConvInputGrad(const ort::KernelAttributes& node)
      : compute_(read_turned(node)), attributes_(node) {}

  void compute(const ort::Context& context) const {
    const ort::Tensor dy = context.input(0), w = context.input(1), x = context.input(2);
    const ConvShape shape = attributes_.shape(x.shape, w.shape, dy.shape);
    auto* dx = static_cast<float*>(context.output(0, ort::kFloat, x.shape));
    compute_.multiply(context, conv_input_product(shape, numbers(dy), numbers(w), nullptr, dx), 3);
  }

 private:
  ComputeAttributes compute_;
  ConvAttributes attributes_;
};

// The gradients of its weights, of whose numbers only the shape counts, and of its bias, which is summed in
// FP32.
class ConvWeightGrad {
 public:
  static constexpr const char* kName = "ConvWeightGrad";
  static constexpr ort::Parameter kInputs[] = {
      {ort::kFloat}, {ort::kFloat}, {ort::kFloat}, {ort::kInt64, ort::kOptional}};  // dy, x, w
  static constexpr ort::Parameter kOutputs[] = {{ort::kFloat, ort::kOptional},
                                                {ort::kFloat, ort::kOptional}};
  static constexpr bool kInPlace = false;

  static void infer(const ort::Inference&) {}

  explicit ConvWeightGrad(const ort::KernelAttributes& node)
      : compute_(node), attributes_(node) {
    for (const auto& cast : {compute_.cast_a, compute_.arithmetic.operands}) {
      if (cast) bias_casts_.push_back(*cast);
    }
  }

  void compute(const ort::Context& context) const {
    const ort::Tensor dy = context.input(0), x = context.input(1), w = context.input(2);
    const ConvShape shape = attributes_.shape(x.shape, w.shape, dy.shape);
    auto* dw = static_cast<float*>(context.optional_output(0, ort::kFloat, w.shape));
    auto* db = static_cast<float*>(context.optional_output(1, ort::kFloat, {w.shape[0]}));
    if (dw != nullptr) {
      const bool in_order = compute_.arithmetic.stochastic();  // random numbers are
      compute_.multiply(context,
                        conv_weight_product(shape, chosen_kernels(), in_order, numbers(dy),
                                            numbers(x), dw),
                        3);
    }
    if (db == nullptr) return;
    conv_bias_gradient(chosen_kernels(), shape, bias_casts_, numbers(dy), db,
                       [&](int64_t count, const std::function<void(int64_t)>& body) {
                         context.parallel_tasks(count, body);
                       });
  }

 private:
  ComputeAttributes compute_;
  ConvAttributes attributes_;
  std::vector<CastSpec> bias_casts_;
};

}  // namespace

const ort::CustomOp* conv_operator(const ort::Api& api) {
  static const ort::OperatorOf<Conv> op(api);
  return &op;
}

const ort::CustomOp* conv_transpose_operator(const ort::Api& api) {
  static const ort::OperatorOf<ConvTranspose> op(api);
  return &op;
}

const ort::CustomOp* conv_input_grad_operator(const ort::Api& api) {
  static const ort::OperatorOf<ConvInputGrad> op(api);
  return &op;
}

const ort::CustomOp* conv_weight_grad_operator(const ort::Api& api) {
  static const ort::OperatorOf<ConvWeightGrad> op(api);
  return &op;
}

}  // namespace onnxbf

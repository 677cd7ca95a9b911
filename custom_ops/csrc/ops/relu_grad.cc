#include "instruction_sets.h"
#include "ops/custom_op.h"
#include "ops/operators.h"

namespace onnxbf {
namespace {

class ReluGrad {
 public:
  static constexpr const char* kName = "ReluGrad";
  static constexpr ort::Parameter kInputs[] = {{ort::kFloat}, {ort::kFloat}};  // dy, x (or y)
  static constexpr ort::Parameter kOutputs[] = {{ort::kFloat}};
  static constexpr bool kInPlace = true;

  static void infer(const ort::Inference& node) { node.output_like_input(ort::kFloat); }

  explicit ReluGrad(const ort::KernelAttributes&) {}

  void compute(const ort::Context& context) const {
    const ort::Tensor dy = context.input(0), x = context.input(1);
    if (dy.shape != x.shape) throw ort::Error("dy and x must have the same shape.");
    const auto* gradient = static_cast<const float*>(dy.data);
    const auto* values = static_cast<const float*>(x.data);
    auto* out = static_cast<float*>(context.output(0, ort::kFloat, dy.shape));
    const auto relu = chosen_kernels().gradients.relu;
    context.parallel(dy.count, [=](int64_t begin, int64_t end) {
      relu(gradient + begin, values + begin, out + begin, end - begin);
    });
  }
};

}  // namespace

const ort::CustomOp* relu_grad_operator(const ort::Api& api) {
  static const ort::OperatorOf<ReluGrad> op(api);
  return &op;
}

}  // namespace onnxbf

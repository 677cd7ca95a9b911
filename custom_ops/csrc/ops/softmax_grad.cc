// The gradient of Softmax along rows, in float32.
#include "instruction_sets.h"
#include "ops/custom_op.h"
#include "ops/float_rows.h"
#include "ops/operators.h"

namespace onnxbf {
namespace {

// dx = y * (dy - sum(dy * y)), for y = Softmax(x) along the last dimension.
class SoftmaxGrad13 {
 public:
  static constexpr const char* kName = "SoftmaxGrad_13";
  static constexpr ort::Parameter kInputs[] = {{ort::kFloat}, {ort::kFloat}};  // dy, y
  static constexpr ort::Parameter kOutputs[] = {{ort::kFloat}};
  static constexpr bool kInPlace = true;

  static void infer(const ort::Inference& node) { node.output_like_input(ort::kFloat); }

  explicit SoftmaxGrad13(const ort::KernelAttributes& node) : axis_(node.integer("axis", -1)) {}

  void compute(const ort::Context& context) const {
    const ort::Tensor dy = context.input(0), y = context.input(1);
    const RowShape shape = row_shape(y.shape, axis_);
    const auto last = static_cast<int64_t>(y.shape.size()) - 1;
    if (dy.shape != y.shape || (axis_ != -1 && axis_ != last)) {
      throw ort::Error("dy and y must have the same shape, whose last dimension is the axis.");
    }
    auto* dx = static_cast<float*>(context.output(0, ort::kFloat, y.shape));
    const auto gradient = chosen_kernels().gradients.softmax;
    for_some_rows(context, shape, [&](int64_t first, int64_t count) {
      const int64_t begin = first * shape.width;
      gradient({numbers(dy) + begin, numbers(y) + begin, dx + begin, count, shape.width});
    });
  }

 private:
  int64_t axis_;
};

}  // namespace

const ort::CustomOp* softmax_grad_13_operator(const ort::Api& api) {
  static const ort::OperatorOf<SoftmaxGrad13> op(api);
  return &op;
}

}  // namespace onnxbf

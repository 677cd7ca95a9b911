#include "ops/compute_attributes.h"
#include "ops/custom_op.h"
#include "ops/operators.h"

namespace onnxbf {
namespace {

// ONNX's Gemm under an arithmetic profile: alpha * A' * B' + beta * C.
class Gemm {
 public:
  static constexpr const char* kName = "Gemm";
  static constexpr ort::Parameter kInputs[] = {
      {ort::kFloat},
      {ort::kFloat},
      {ort::kFloat, ort::kOptional},
      {ort::kInt64, ort::kOptional}};
  static constexpr ort::Parameter kOutputs[] = {{ort::kFloat}};
  static constexpr bool kInPlace = false;

  static void infer(const ort::Inference&) {}

  explicit Gemm(const ort::KernelAttributes& node)
      : compute_(node),
        name_(node.node_name()),
        transposes_a_(node.integer("transA", 0, 0, 1) == 1),
        transposes_b_(node.integer("transB", 0, 0, 1) == 1),
        alpha_(node.number("alpha", 1)),
        beta_(node.number("beta", 1)) {}

  void compute(const ort::Context& context) const {
    const ort::Tensor a = context.input(0), b = context.input(1);
    if (a.shape.size() != 2 || b.shape.size() != 2) refuse(a.shape, b.shape);
    const int64_t inner = a.shape[transposes_a_ ? 0 : 1];
    if (inner != b.shape[transposes_b_ ? 1 : 0]) refuse(a.shape, b.shape);

    Product product{};
    product.rows = a.shape[transposes_a_ ? 1 : 0];
    product.columns = b.shape[transposes_b_ ? 0 : 1];
    product.inner = inner;
    product.a = factor(a, !transposes_a_);
    product.b = factor(b, transposes_b_);
    product.alpha = alpha_;
    product.beta = beta_;
    if (context.has_input(2)) set_term(context.input(2), product);
    const std::vector<int64_t> shape{product.rows, product.columns};
    product.out = static_cast<float*>(context.output(0, ort::kFloat, shape));
    compute_.multiply(context, std::move(product), 3);
  }

 private:
  // `along_rows`: the sums run along the rows of the matrix.
  static Factor factor(const ort::Tensor& matrix, bool along_rows) {
    const int64_t width = matrix.shape[1];
    return {{static_cast<const float*>(matrix.data)},
            {0},
            along_rows ? width : 1,
            along_rows ? 1 : width,
            std::nullopt};
  }

  void set_term(const ort::Tensor& c, Product& product) const {
    const std::vector<int64_t>& shape = c.shape;
    const int64_t columns = shape.empty() ? 1 : shape.back();
    const int64_t rows = shape.size() < 2 ? 1 : shape[0];
    const bool fits = shape.size() <= 2 && (rows == 1 || rows == product.rows) &&
                      (columns == 1 || columns == product.columns);
    if (!fits) {
      throw ort::Error("Gemm node '" + name_ + "': C of shape " + shape_text(shape) +
                       " does not fit a result of shape " +
                       shape_text({product.rows, product.columns}) + ".");
    }
    product.c = static_cast<const float*>(c.data);
    product.c_row_stride = rows == 1 ? 0 : columns;
    product.c_column_stride = columns == 1 ? 0 : 1;
  }

  [[noreturn]] void refuse(const std::vector<int64_t>& a, const std::vector<int64_t>& b) const {
    throw ort::Error("Gemm node '" + name_ + "': shapes " + shape_text(a) + " and " +
                     shape_text(b) + " do not fit together.");
  }

  ComputeAttributes compute_;
  std::string name_;
  bool transposes_a_, transposes_b_;
  float alpha_, beta_;
};

}  // namespace

const ort::CustomOp* gemm_operator(const ort::Api& api) {
  static const ort::OperatorOf<Gemm> op(api);
  return &op;
}

}  // namespace onnxbf

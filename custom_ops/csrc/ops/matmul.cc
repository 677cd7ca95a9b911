#include "ops/compute_attributes.h"
#include "ops/custom_op.h"
#include "ops/operators.h"

namespace onnxbf {
namespace {

using Shape = std::vector<int64_t>;

// One operand: matrices, of which the last two dimensions are rows and columns.
struct Operand {
  // `is_left`: a vector counts as a row, else as a column.
  Operand(const ort::Tensor& tensor, bool is_left, bool transposed)
      : data(static_cast<const float*>(tensor.data)), shape(tensor.shape) {
    is_vector = shape.size() == 1;
    if (is_vector) shape.insert(is_left ? shape.begin() : shape.end(), 1);
    rows = shape[shape.size() - 2];
    columns = shape.back();
    row_stride = columns;
    column_stride = 1;
    if (transposed && !is_vector) {
      std::swap(rows, columns);
      std::swap(row_stride, column_stride);
    }
    batch.assign(shape.begin(), shape.end() - 2);
  }

  const float* data;
  Shape shape, batch;
  bool is_vector;
  int64_t rows, columns, row_stride, column_stride;
};

int64_t product_of(const Shape& shape) {
  int64_t product = 1;
  for (const int64_t size : shape) product *= size;
  return product;
}

// The batch dimensions of both, broadcast against each other as in NumPy; false: they do not fit.
bool broadcast(const Shape& a, const Shape& b, Shape& result) {
  result.assign(std::max(a.size(), b.size()), 1);
  for (size_t i = 0; i < result.size(); ++i) {
    const auto size = [&](const Shape& shape) {
      const size_t missing = result.size() - shape.size();
      return i < missing ? 1 : shape[i - missing];
    };
    if (size(a) != size(b) && size(a) != 1 && size(b) != 1) return false;
    result[i] = size(a) != 1 ? size(a) : size(b);
  }
  return true;
}

// Which matrix of an operand each product of the batch takes.
std::vector<int64_t> used_matrices(const Shape& own, const Shape& batch) {
  std::vector<int64_t> used(static_cast<size_t>(product_of(batch)));
  const size_t missing = batch.size() - own.size();
  for (size_t product = 0; product < used.size(); ++product) {
    int64_t rest = static_cast<int64_t>(product), index = 0, stride = 1;
    for (size_t i = batch.size(); i-- > 0; rest /= batch[i]) {
      if (i < missing) continue;
      const int64_t size = own[i - missing];
      index += (size != 1 ? rest % batch[i] : 0) * stride;
      stride *= size;
    }
    used[product] = index;
  }
  return used;
}

Factor make_factor(const Operand& operand, const Shape& batch, int64_t outer, int64_t inner) {
  Factor factor{{}, used_matrices(operand.batch, batch), outer, inner, std::nullopt};
  const int64_t size = operand.rows * operand.columns;
  for (int64_t i = 0; i < product_of(operand.batch); ++i) {
    factor.matrices.push_back(operand.data + i * size);
  }
  return factor;
}

// ONNX's MatMul and ONNX Runtime's FusedMatMul, under an arithmetic profile.
template <bool kFused>
class MatMul {
 public:
  static constexpr const char* kName = kFused ? "FusedMatMul" : "MatMul";
  static constexpr ort::Parameter kInputs[] = {
      {ort::kFloat}, {ort::kFloat}, {ort::kInt64, ort::kOptional}};
  static constexpr ort::Parameter kOutputs[] = {{ort::kFloat}};
  static constexpr bool kInPlace = false;

  static void infer(const ort::Inference&) {}

  explicit MatMul(const ort::KernelAttributes& node)
      : compute_(node),
        name_(node.node_name()),
        transposes_a_(kFused && node.integer("transA", 0, 0, 1) == 1),
        transposes_b_(kFused && node.integer("transB", 0, 0, 1) == 1),
        alpha_(kFused ? node.number("alpha", 1) : 1) {}

  void compute(const ort::Context& context) const {
    const ort::Tensor first = context.input(0), second = context.input(1);
    if (first.shape.empty() || second.shape.empty()) refuse(first.shape, second.shape);
    const Operand a(first, true, transposes_a_), b(second, false, transposes_b_);
    Shape batch;
    if (a.columns != b.rows || !broadcast(a.batch, b.batch, batch)) {
      refuse(first.shape, second.shape);
    }
    Shape shape = batch;
    if (!a.is_vector) shape.push_back(a.rows);
    if (!b.is_vector) shape.push_back(b.columns);

    Product product{};
    product.rows = a.rows;
    product.inner = a.columns;
    product.columns = b.columns;
    product.a = make_factor(a, batch, a.row_stride, a.column_stride);
    product.b = make_factor(b, batch, b.column_stride, b.row_stride);
    product.alpha = alpha_;
    product.out = static_cast<float*>(context.output(0, ort::kFloat, shape));
    compute_.multiply(context, std::move(product), 2);
  }

 private:
  [[noreturn]] void refuse(const Shape& a, const Shape& b) const {
    throw ort::Error(std::string(kName) + " node '" + name_ + "': shapes " + shape_text(a) +
                     " and " + shape_text(b) + " do not fit together.");
  }

  ComputeAttributes compute_;
  std::string name_;
  bool transposes_a_, transposes_b_;
  float alpha_;
};

}  // namespace

const ort::CustomOp* matmul_operator(const ort::Api& api) {
  static const ort::OperatorOf<MatMul<false>> op(api);
  return &op;
}

const ort::CustomOp* fused_matmul_operator(const ort::Api& api) {
  static const ort::OperatorOf<MatMul<true>> op(api);
  return &op;
}

}  // namespace onnxbf

#include <algorithm>

#include "ops/compute_attributes.h"
#include "ops/custom_op.h"
#include "ops/operators.h"

namespace onnxbf {
namespace {

using Shape = std::vector<int64_t>;

Shape strides_of(const Shape& shape) {
  Shape strides(shape.size());
  int64_t stride = 1;
  for (size_t i = shape.size(); i-- > 0; stride *= shape[i]) strides[i] = stride;
  return strides;
}

// Numbers as ONNX's Transpose takes dimensions; as they are without an order.
Shape in_order(const Shape& numbers, const Shape& order) {
  if (order.empty()) return numbers;
  Shape result;
  for (const int64_t i : order) result.push_back(numbers[static_cast<size_t>(i)]);
  return result;
}

// Where the elements of a tensor of this shape stand by these strides, one after the other.
Shape places_of(const Shape& shape, const Shape& strides) {
  Shape places{0};
  for (size_t i = 0; i < shape.size(); ++i) {
    Shape next;
    for (const int64_t place : places) {
      for (int64_t k = 0; k < shape[i]; ++k) next.push_back(place + k * strides[i]);
    }
    places.swap(next);
  }
  return places;
}

// One operand: matrices, of which the last two dimensions are rows and columns.
struct Operand {
  // `is_left`: a vector counts as a row, else as a column. `order`: of the tensor's dimensions.
  Operand(const ort::Tensor& tensor, const Shape& order, bool is_left, bool transposed)
      : data(static_cast<const float*>(tensor.data)),
        shape(in_order(tensor.shape, order)),
        strides(in_order(strides_of(tensor.shape), order)) {
    is_vector = shape.size() == 1;
    if (is_vector) {
      strides.insert(is_left ? strides.begin() : strides.end(), is_left ? shape[0] : 1);
      shape.insert(is_left ? shape.begin() : shape.end(), 1);
    }
    rows = shape[shape.size() - 2];
    columns = shape.back();
    row_stride = strides[strides.size() - 2];
    column_stride = strides.back();
    if (transposed && !is_vector) {
      std::swap(rows, columns);
      std::swap(row_stride, column_stride);
    }
    batch.assign(shape.begin(), shape.end() - 2);
    strides.resize(batch.size());
  }

  const float* data;
  Shape shape, strides, batch;  // strides: of the batch
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
  for (const int64_t place : places_of(operand.batch, operand.strides)) {
    factor.matrices.push_back(operand.data + place);
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
        alpha_(kFused ? node.number("alpha", 1) : 1),
        order_a_(node.integers("perm_a")),
        order_b_(node.integers("perm_b")),
        order_y_(node.integers("perm_y")) {}

  void compute(const ort::Context& context) const {
    const ort::Tensor first = context.input(0), second = context.input(1);
    if (first.shape.empty() || second.shape.empty()) refuse(first.shape, second.shape);
    check_order(order_a_, first.shape, "perm_a");
    check_order(order_b_, second.shape, "perm_b");
    const Operand a(first, order_a_, true, transposes_a_);
    const Operand b(second, order_b_, false, transposes_b_);
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
    if (!order_y_.empty()) turn(product, a.is_vector || b.is_vector, batch, shape);
    product.out = static_cast<float*>(context.output(0, ort::kFloat, in_order(shape, order_y_)));
    compute_.multiply(context, std::move(product), 2);
  }

 private:
  // Has the results stand as a Transpose of them by `order_y_` would have them.
  void turn(Product& product, bool has_vector, const Shape& batch, const Shape& shape) const {
    check_order(order_y_, has_vector ? Shape{} : shape, "perm_y");
    const Shape turned = strides_of(in_order(shape, order_y_));
    Shape strides(shape.size());
    for (size_t i = 0; i < shape.size(); ++i) {
      strides[static_cast<size_t>(order_y_[i])] = turned[i];
    }
    product.out_first = places_of(batch, strides);
    product.out_row_stride = strides[batch.size()];
    product.out_column_stride = strides[batch.size() + 1];
  }

  void check_order(const Shape& order, const Shape& shape, const char* attribute) const {
    Shape sorted = order;
    std::sort(sorted.begin(), sorted.end());
    bool fits = order.empty() || (order.size() == shape.size() && order.size() > 1);
    for (size_t i = 0; i < sorted.size() && fits; ++i) fits = sorted[i] == static_cast<int64_t>(i);
    if (fits) return;
    throw ort::Error(std::string(kName) + " node '" + name_ + "': attribute '" + attribute +
                     "' is no order of the dimensions of " + shape_text(shape) + ".");
  }

  [[noreturn]] void refuse(const Shape& a, const Shape& b) const {
    throw ort::Error(std::string(kName) + " node '" + name_ + "': shapes " + shape_text(a) +
                     " and " + shape_text(b) + " do not fit together.");
  }

  ComputeAttributes compute_;
  std::string name_;
  bool transposes_a_, transposes_b_;
  float alpha_;
  Shape order_a_, order_b_, order_y_;  // of dimensions; empty: as they stand
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

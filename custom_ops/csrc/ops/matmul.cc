#include <algorithm>

#include "epilogue.h"
#include "instruction_sets.h"
#include "ops/compute_attributes.h"
#include "ops/custom_op.h"
#include "ops/operand.h"
#include "ops/operators.h"
#include "ops/program_attribute.h"

namespace onnxbf {
namespace {

// What ONNX's MatMul, or ONNX Runtime's FusedMatMul, under an arithmetic profile, makes of two inputs.
class Multiplier {
 public:
  Multiplier(const ort::KernelAttributes& node, const char* operator_name, bool fused)
      : compute_(node),
        operator_(operator_name),
        name_(node.node_name()),
        transposes_a_(fused && node.integer("transA", 0, 0, 1) == 1),
        transposes_b_(fused && node.integer("transB", 0, 0, 1) == 1),
        alpha_(fused ? node.number("alpha", 1) : 1),
        order_a_(node.integers("perm_a")),
        order_b_(node.integers("perm_b")),
        order_y_(node.integers("perm_y")) {}

  // `shape`: of all results, before they are turned.
  Product product(const ort::Context& context, Shape& shape) const {
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
    shape = batch;
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
    return product;
  }

  void run(const ort::Context& context, Product product, size_t step) const {
    compute_.multiply(context, std::move(product), step);
  }

  bool turns_results() const { return !order_y_.empty(); }
  std::string title() const { return operator_ + " node '" + name_ + "'"; }

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
    throw ort::Error(title() + ": attribute '" + attribute + "' is no order of the dimensions of " + shape_text(shape) + ".");
  }

  [[noreturn]] void refuse(const Shape& a, const Shape& b) const {
    throw ort::Error(title() + ": shapes " + shape_text(a) + " and " + shape_text(b) +
                     " do not fit together.");
  }

  ComputeAttributes compute_;
  std::string operator_, name_;
  bool transposes_a_, transposes_b_;
  float alpha_;
  Shape order_a_, order_b_, order_y_;  // of dimensions; empty: as they stand
};

template <bool kFused>
class MatMul {
 public:
  static constexpr const char* kName = kFused ? "FusedMatMul" : "MatMul";
  static constexpr ort::Parameter kInputs[] = {
      {ort::kFloat}, {ort::kFloat}, {ort::kInt64, ort::kOptional}};
  static constexpr ort::Parameter kOutputs[] = {{ort::kFloat}};
  static constexpr bool kInPlace = false;

  static void infer(const ort::Inference&) {}

  explicit MatMul(const ort::KernelAttributes& node) : multiplier_(node, kName, kFused) {}

  void compute(const ort::Context& context) const {
    Shape shape;
    multiplier_.run(context, multiplier_.product(context, shape), 2);
  }

 private:
  Multiplier multiplier_;
};

// FusedMatMul, and a program of its results, see Epilogue.
class MatMulElementwise {
 public:
  static constexpr const char* kName = "MatMulElementwise";
  static constexpr ort::Parameter kInputs[] = {{ort::kFloat, ort::kVariadic}};
  static constexpr ort::Parameter kOutputs[] = {{ort::kFloat}};
  static constexpr bool kInPlace = false;

  static void infer(const ort::Inference&) {}

  explicit MatMulElementwise(const ort::KernelAttributes& node)
      : multiplier_(node, kName, true), program_(read_program(node.text("program"))) {
    if (multiplier_.turns_results()) throw ort::Error("it has no attribute 'perm_y'.");
    const bool fits = program_.shared == 0 && program_.outputs == 1 && program_.inputs > 0;
    if (fits && program_.inputs <= kMostInputs && !program_.reads_overwritten) return;
    throw ort::Error("attribute 'program' must read x0, and at most x" +
                     std::to_string(Epilogue::kMostOthers) +
                     ", no shared numbers, and write y0 alone, after all that reads x0.");
  }

  void compute(const ort::Context& context) const {
    const size_t others = static_cast<size_t>(program_.inputs) - 1;
    if (context.input_count() != kFactors + others) {
      throw ort::Error(multiplier_.title() + ": it has " + std::to_string(context.input_count()) +
                       " inputs, but two factors and a program take " +
                       std::to_string(kFactors + others) + ".");
    }
    Shape shape;
    Product product = multiplier_.product(context, shape);
    std::vector<Epilogue::Other> read;
    for (size_t i = 0; i < others; ++i) {
      const ort::Tensor tensor = context.input(kFactors + i);
      if (tensor.count != 1 && !ends_with(shape, tensor.shape)) refuse(i + 1, tensor.shape, shape);
      read.push_back({static_cast<const float*>(tensor.data), tensor.count});
    }
    const Epilogue then(chosen_kernels(), program_, read, product.columns);
    product.then = &then;
    multiplier_.run(context, std::move(product), context.input_count());  // there is no step
  }

 private:
  static constexpr size_t kFactors = 2;
  static constexpr int32_t kMostInputs = Epilogue::kMostOthers + 1;

  static bool ends_with(const Shape& shape, const Shape& end) {
    return !end.empty() && end.size() <= shape.size() &&
           std::equal(end.rbegin(), end.rend(), shape.rbegin());
  }

  [[noreturn]] void refuse(size_t index, const Shape& other, const Shape& shape) const {
    throw ort::Error(multiplier_.title() + ": x" + std::to_string(index) + " of shape " +
                     shape_text(other) + " has neither the last dimensions of a result of shape " +
                     shape_text(shape) + ", nor one element.");
  }

  Multiplier multiplier_;
  Program program_;
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

const ort::CustomOp* matmul_elementwise_operator(const ort::Api& api) {
  static const ort::OperatorOf<MatMulElementwise> op(api);
  return &op;
}

}  // namespace onnxbf

#include <algorithm>
#include <string>

#include "instruction_sets.h"
#include "ops/custom_op.h"
#include "ops/operators.h"

namespace onnxbf {
namespace {

using Sizes = std::vector<int64_t>;

constexpr int64_t kTaskFloats = int64_t{1} << 13;  // of the result

int64_t product(const Sizes& sizes, size_t begin, size_t end) {
  int64_t result = 1;
  for (size_t i = begin; i < end; ++i) result *= sizes[i];
  return result;
}

// The gradient of ONNX's Gather: each row of the result is the sum of the rows that were taken of it,
// in their order.
class GatherGrad {
 public:
  static constexpr const char* kName = "GatherGrad";
  static constexpr ort::Parameter kInputs[] = {
      {ort::kInt64}, {ort::kInt64}, {ort::kFloat}};  // the shape of x, indices, dy
  static constexpr ort::Parameter kOutputs[] = {{ort::kFloat}};
  static constexpr bool kInPlace = false;

  static void infer(const ort::Inference&) {}

  explicit GatherGrad(const ort::KernelAttributes& node) : axis_(node.integer("axis", 0)) {}

  void compute(const ort::Context& context) const {
    const ort::Tensor sizes = context.input(0), indices = context.input(1), dy = context.input(2);
    const auto* numbers = static_cast<const int64_t*>(sizes.data);
    const Sizes shape(numbers, numbers + sizes.count);
    const auto rank = static_cast<int64_t>(shape.size());
    const int64_t from_start = axis_ < 0 ? axis_ + rank : axis_;
    if (from_start < 0 || from_start >= rank) throw ort::Error("axis is no dimension of x.");
    const auto axis = static_cast<size_t>(from_start);
    const int64_t outer = product(shape, 0, axis), rows = shape[axis];
    const int64_t width = product(shape, axis + 1, shape.size());
    if (dy.count != outer * indices.count * width) {
      throw ort::Error("the shape of dy is not that of what was taken of x.");
    }
    const Order order(static_cast<const int64_t*>(indices.data), indices.count, rows);
    const auto* gradient = static_cast<const float*>(dy.data);
    auto* out = static_cast<float*>(context.output(0, ort::kFloat, shape));
    if (outer * rows * width == 0) return;
    const auto add = chosen_kernels().gradients.add;
    const int64_t together = std::max<int64_t>(kTaskFloats / width, 1);
    const int64_t all = outer * rows;
    context.parallel_tasks((all + together - 1) / together, [&](int64_t task) {
      for (int64_t i = task * together; i < std::min((task + 1) * together, all); ++i) {
        float* sums = out + i * width;
        std::fill_n(sums, width, 0.0f);
        const float* taken = gradient + i / rows * indices.count * width;
        for (int64_t k = order.begins[static_cast<size_t>(i % rows)];
             k < order.begins[static_cast<size_t>(i % rows) + 1]; ++k) {
          add(taken + order.places[static_cast<size_t>(k)] * width, sums, width);
        }
      }
    });
  }

 private:
  // The places at which each row was taken, row by row.
  struct Order {
    Order(const int64_t* indices, int64_t count, int64_t rows)
        : begins(static_cast<size_t>(rows) + 1), places(static_cast<size_t>(count)) {
      const auto row = [&](int64_t i) {
        const int64_t index = indices[i] < 0 ? indices[i] + rows : indices[i];
        if (index >= 0 && index < rows) return static_cast<size_t>(index);
        throw ort::Error("index " + std::to_string(indices[i]) + " is beyond the " +
                         std::to_string(rows) + " rows of x.");
      };
      for (int64_t i = 0; i < count; ++i) ++begins[row(i) + 1];
      for (size_t i = 1; i < begins.size(); ++i) begins[i] += begins[i - 1];
      Sizes next = begins;
      for (int64_t i = 0; i < count; ++i) places[static_cast<size_t>(next[row(i)]++)] = i;
    }

    Sizes begins, places;
  };

  int64_t axis_;
};

}  // namespace

const ort::CustomOp* gather_grad_operator(const ort::Api& api) {
  static const ort::OperatorOf<GatherGrad> op(api);
  return &op;
}

}  // namespace onnxbf

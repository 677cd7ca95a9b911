#include <cmath>

#include "ops/around_sums.h"
#include "ops/compute_attributes.h"
#include "ops/custom_op.h"
#include "ops/operators.h"

namespace onnxbf {
namespace {

constexpr int64_t kColumns = 1024;  // of a slab whose exponentials are computed at a time

// NaN is passed over: then the sum is NaN, and so are all results.
float larger_of(float best, float number) { return number > best ? number : best; }

float largest_of(const float* row, int64_t count) {
  constexpr int64_t kParts = 16;  // which the compiler keeps side by side
  float parts[kParts];
  std::fill_n(parts, kParts, -HUGE_VALF);
  int64_t i = 0;
  for (; i + kParts <= count; i += kParts) {
    for (int64_t part = 0; part < kParts; ++part) parts[part] = larger_of(parts[part], row[i + part]);
  }
  for (; i < count; ++i) parts[0] = larger_of(parts[0], row[i]);
  for (int64_t part = 1; part < kParts; ++part) parts[0] = larger_of(parts[0], parts[part]);
  return parts[0];
}

// ONNX's Softmax, of opset 13 on, under an arithmetic profile.
class Softmax {
 public:
  static constexpr const char* kName = "Softmax";
  static constexpr ort::Parameter kInputs[] = {{ort::kFloat}, {ort::kInt64, ort::kOptional}};
  static constexpr ort::Parameter kOutputs[] = {{ort::kFloat}};
  static constexpr bool kInPlace = false;

  static void infer(const ort::Inference&) {}

  explicit Softmax(const ort::KernelAttributes& node)
      : compute_(node), name_(node.node_name()), axis_(node.integer("axis", -1)) {}

  void compute(const ort::Context& context) const {
    const ort::Tensor x = context.input(0);
    const SumShape shape = shape_of(x.shape);
    auto* y = static_cast<float*>(context.output(0, ort::kFloat, x.shape));
    if (x.count == 0) return;
    const auto* from = static_cast<const float*>(x.data);
    if (compute_.cast_a) {
      round_numbers(context, *compute_.cast_a, from, y, x.count);
      from = y;
    }
    exponentials(context, shape, from, y);
    std::vector<float> sums(static_cast<size_t>(shape.count()));
    compute_.sum(context, make_sums(shape, y, sums.data()), 1);
    each_with_sum(context, shape, sums.data(),
                  [&](int64_t first, int64_t count, const float* sum, int64_t step) {
                    for (int64_t i = 0; i < count; ++i) {
                      y[first + i] = plain_nan(y[first + i] / sum[i * step]);
                    }
                  });
    round_result(context, compute_.cast_y, y, x.count);
  }

 private:
  SumShape shape_of(const std::vector<int64_t>& sizes) const {
    const auto rank = static_cast<int64_t>(sizes.size());
    const int64_t axis = axis_ < 0 ? axis_ + rank : axis_;
    if (axis < 0 || axis >= rank) {
      throw ort::Error("Softmax node '" + name_ + "': axis " + std::to_string(axis_) +
                       " is no dimension of x, whose shape is " + shape_text(sizes) + ".");
    }
    SumShape shape{1, sizes[static_cast<size_t>(axis)], 1};
    for (int64_t i = 0; i < axis; ++i) shape.outer *= sizes[static_cast<size_t>(i)];
    for (int64_t i = axis + 1; i < rank; ++i) shape.after *= sizes[static_cast<size_t>(i)];
    return shape;
  }

  // e^(x - m) with the largest number m of each sum. `x` may be `y`.
  static void exponentials(const ort::Context& context, const SumShape& shape, const float* x,
                           float* y) {
    const auto function = chosen_kernels().sums.exponentials;
    const int64_t slab = shape.inner * shape.after;
    if (shape.after == 1) {
      return for_rows(context, shape.outer, slab, [&](int64_t row) {
        const float highest = largest_of(x + row * slab, slab);
        function(x + row * slab, &highest, 0, y + row * slab, slab);
      });
    }
    const int64_t blocks = (shape.after + kColumns - 1) / kColumns;
    for_rows(context, shape.outer * blocks, slab / blocks, [&](int64_t block) {
      const int64_t column = block % blocks * kColumns, first = block / blocks * slab + column;
      const int64_t count = std::min(kColumns, shape.after - column);
      float highest[kColumns];
      std::fill_n(highest, count, -HUGE_VALF);
      for (int64_t k = 0; k < shape.inner; ++k) {
        const float* row = x + first + k * shape.after;
        for (int64_t i = 0; i < count; ++i) highest[i] = larger_of(highest[i], row[i]);
      }
      for (int64_t k = 0; k < shape.inner; ++k) {
        const int64_t place = first + k * shape.after;
        function(x + place, highest, 1, y + place, count);
      }
    });
  }

  ComputeAttributes compute_;
  std::string name_;
  int64_t axis_;
};

}  // namespace

const ort::CustomOp* softmax_operator(const ort::Api& api) {
  static const ort::OperatorOf<Softmax> op(api);
  return &op;
}

}  // namespace onnxbf

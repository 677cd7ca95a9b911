#include "kept_memory.h"
#include "ops/around_sums.h"
#include "ops/compute_attributes.h"
#include "ops/custom_op.h"
#include "ops/operators.h"

namespace onnxbf {
namespace {

using Shape = std::vector<int64_t>;

// Neighbouring dimensions that are all summed over, or all kept.
struct Run {
  bool is_summed;
  int64_t size;
};

std::vector<Run> runs_of(const Shape& shape, const std::vector<bool>& summed) {
  std::vector<Run> runs;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 1) continue;
    if (runs.empty() || runs.back().is_summed != summed[i]) runs.push_back({summed[i], 1});
    runs.back().size *= shape[i];
  }
  return runs;
}

// x with the dimensions that are kept before those that are summed over.
void bring_together(const float* x, const Shape& shape, const std::vector<bool>& summed, float* to) {
  struct Axis {
    int64_t size, stride;
  };
  std::vector<Axis> axes;
  for (const bool wanted : {false, true}) {
    int64_t stride = 1;
    const size_t first = axes.size();
    for (size_t i = shape.size(); i-- > 0; stride *= shape[i]) {
      if (summed[i] == wanted) axes.insert(axes.begin() + static_cast<int64_t>(first), {shape[i], stride});
    }
  }
  Shape place(axes.size());
  int64_t count = 1, from = 0;
  for (const int64_t size : shape) count *= size;
  for (int64_t i = 0; i < count; ++i) {
    to[i] = x[from];
    for (size_t axis = axes.size(); axis-- > 0;) {
      from += axes[axis].stride;
      if (++place[axis] < axes[axis].size) break;
      from -= axes[axis].size * axes[axis].stride;
      place[axis] = 0;
    }
  }
}

// ONNX's ReduceSum and ReduceMean under an arithmetic profile; sums under none are in float32, in order.
template <bool kMean>
class Reduce {
 public:
  static constexpr const char* kName = kMean ? "ReduceMean" : "ReduceSum";
  static constexpr ort::Parameter kInputs[] = {
      {ort::kFloat}, {ort::kInt64, ort::kOptional}, {ort::kInt64, ort::kOptional}};
  static constexpr ort::Parameter kOutputs[] = {{ort::kFloat}};
  static constexpr bool kInPlace = false;

  static void infer(const ort::Inference&) {}

  explicit Reduce(const ort::KernelAttributes& node)
      : compute_(node, kMean ? nullptr : "fp32"),
        name_(node.node_name()),
        keeps_dims_(node.integer("keepdims", 1, 0, 1) == 1),
        may_keep_all_(node.integer("noop_with_empty_axes", 0, 0, 1) == 1) {}

  void compute(const ort::Context& context) const {
    const ort::Tensor x = context.input(0);
    const auto* numbers = static_cast<const float*>(x.data);
    const std::vector<int64_t> axes = read_axes(context);
    if (axes.empty() && may_keep_all_) return copy(context, x);
    std::vector<bool> summed(x.shape.size(), axes.empty());
    for (const int64_t axis : axes) summed[place_of(axis, x.shape)] = true;
    Shape shape;
    int64_t inner = 1, count = 1;
    for (size_t i = 0; i < x.shape.size(); ++i) {
      (summed[i] ? inner : count) *= x.shape[i];
      if (!summed[i] || keeps_dims_) shape.push_back(summed[i] ? 1 : x.shape[i]);
    }
    auto* y = static_cast<float*>(context.output(0, ort::kFloat, shape));
    if (count == 0) return;
    const std::vector<Run> runs = runs_of(x.shape, summed);
    const bool is_mixed = x.count != 0 && runs.size() > 3;
    const KeptMemory memory(is_mixed ? static_cast<size_t>(x.count) : 0);
    if (is_mixed) bring_together(numbers, x.shape, summed, memory.data());
    Sums sums = is_mixed || x.count == 0
                    ? make_sums({count, inner, 1}, is_mixed ? memory.data() : numbers, y)
                    : sums_of(runs, numbers, y);
    sums.terms.cast = compute_.cast_a;
    compute_.sum(context, std::move(sums), 2);
    if (kMean) divide(context, static_cast<float>(inner), y, count);
    round_result(context, compute_.cast_y, y, count);
  }

 private:
  static std::vector<int64_t> read_axes(const ort::Context& context) {
    if (!context.has_input(1)) return {};
    const ort::Tensor axes = context.input(1);
    const auto* first = static_cast<const int64_t*>(axes.data);
    return {first, first + axes.count};
  }

  size_t place_of(int64_t axis, const Shape& shape) const {
    const auto rank = static_cast<int64_t>(shape.size());
    const int64_t place = axis < 0 ? axis + rank : axis;
    if (place >= 0 && place < rank) return static_cast<size_t>(place);
    throw ort::Error(std::string(kName) + " node '" + name_ + "': axis " + std::to_string(axis) +
                     " is no dimension of x, whose shape is " + shape_text(shape) + ".");
  }

  // Where nothing is summed, nothing but the casts applies.
  void copy(const ort::Context& context, const ort::Tensor& x) const {
    const auto* from = static_cast<const float*>(x.data);
    auto* y = static_cast<float*>(context.output(0, ort::kFloat, x.shape));
    if (compute_.cast_a) {
      round_numbers(context, *compute_.cast_a, from, y, x.count);
    } else {
      std::copy_n(from, x.count, y);
    }
    round_result(context, compute_.cast_y, y, x.count);
  }

  // At most three runs, of numbers that are there.
  static Sums sums_of(const std::vector<Run>& runs, const float* x, float* y) {
    const auto size = [&](size_t i) { return i < runs.size() ? runs[i].size : 1; };
    if (runs.empty()) return make_sums({1, 1, 1}, x, y);
    if (!runs[0].is_summed) return make_sums({size(0), size(1), size(2)}, x, y);
    Sums sums = make_sums({1, size(0), size(1)}, x, y);
    if (runs.size() < 3) return sums;
    sums.inner = size(0) * size(2);  // along the last dimensions, then along the first ones
    sums.count = size(1);
    sums.terms = {{x}, {}, size(2), 1, std::nullopt, size(2), size(1) * size(2)};
    return sums;
  }

  static void divide(const ort::Context& context, float by, float* y, int64_t count) {
    context.parallel(count, [=](int64_t begin, int64_t end) {
      const FloatEnvironment nearest(false);
      for (int64_t i = begin; i < end; ++i) y[i] = plain_nan(y[i] / by);
    });
  }

  ComputeAttributes compute_;
  std::string name_;
  bool keeps_dims_, may_keep_all_;
};

}  // namespace

const ort::CustomOp* reduce_sum_operator(const ort::Api& api) {
  static const ort::OperatorOf<Reduce<false>> op(api);
  return &op;
}

const ort::CustomOp* reduce_mean_operator(const ort::Api& api) {
  static const ort::OperatorOf<Reduce<true>> op(api);
  return &op;
}

}  // namespace onnxbf

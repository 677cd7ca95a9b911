#include <cmath>
#include <variant>

#include "kept_memory.h"
#include "ops/around_sums.h"
#include "ops/compute_attributes.h"
#include "ops/custom_op.h"
#include "ops/float_layer_norm.h"
#include "ops/operators.h"

namespace onnxbf {
namespace {

// ONNX's LayerNormalization, whose two sums are under an arithmetic profile.
class ProfiledLayerNormalization {
 public:
  explicit ProfiledLayerNormalization(const ort::KernelAttributes& node)
      : compute_(node),
        name_(node.node_name()),
        axis_(node.integer("axis", -1)),
        epsilon_(node.number("epsilon", 1e-5f)) {
    node.integer("stash_type", 1, 1, 1);
  }

  void compute(const ort::Context& context) const {
    const ort::Tensor x = context.input(0);
    const Rows rows = rows_of(x.shape);
    const float* scale = parameter(context, 1, rows.width);
    const float* bias = context.has_input(2) ? parameter(context, 2, rows.width) : nullptr;
    auto* y = static_cast<float*>(context.output(0, ort::kFloat, x.shape));
    std::vector<float> spare(static_cast<size_t>(2 * rows.count));
    float* means = statistic(context, 1, rows, spare.data());
    float* inverses = statistic(context, 2, rows, spare.data() + rows.count);

    const KeptMemory memory(compute_.cast_a ? static_cast<size_t>(x.count) : 0);
    const float* from = numbers(x);
    if (compute_.cast_a) {
      round_numbers(context, *compute_.cast_a, from, memory.data(), x.count);
      from = memory.data();
    }
    const SumShape shape{rows.count, rows.width, 1};
    compute_.sum(context, make_sums(shape, from, means), 3);
    divide(means, rows);
    for_rows(context, rows.count, rows.width, [&](int64_t row) {
      const float* given = from + row * rows.width;
      float* squares = y + row * rows.width;
      for (int64_t i = 0; i < rows.width; ++i) {
        const float centred = given[i] - means[row];
        squares[i] = centred * centred;
      }
    });
    Sums squares = make_sums(shape, y, inverses);
    squares.first = static_cast<uint64_t>(rows.count);
    compute_.sum(context, std::move(squares), 3);
    divide(inverses, rows);
    invert(inverses, rows);
    for_rows(context, rows.count, rows.width, [&](int64_t row) {
      const float* given = from + row * rows.width;
      float* results = y + row * rows.width;
      for (int64_t i = 0; i < rows.width; ++i) {
        const float scaled = (given[i] - means[row]) * inverses[row] * scale[i];
        results[i] = plain_nan(bias != nullptr ? scaled + bias[i] : scaled);
      }
    });
    round_result(context, compute_.cast_y, y, x.count);
  }

 private:
  struct Rows {
    int64_t count, width;
    std::vector<int64_t> shape;  // of what there is one of for each
  };

  Rows rows_of(const std::vector<int64_t>& sizes) const {
    const auto rank = static_cast<int64_t>(sizes.size());
    const int64_t axis = axis_ < 0 ? axis_ + rank : axis_;
    if (axis < 0 || axis >= rank) {
      refuse("axis " + std::to_string(axis_) + " is no dimension of x, whose shape is " +
             shape_text(sizes) + ".");
    }
    Rows rows{1, 1, sizes};
    for (int64_t i = 0; i < rank; ++i) {
      const auto place = static_cast<size_t>(i);
      (i < axis ? rows.count : rows.width) *= sizes[place];
      if (i >= axis) rows.shape[place] = 1;
    }
    return rows;
  }

  // nullptr where it has no elements, though x has some: it is left out before a step.
  const float* parameter(const ort::Context& context, size_t index, int64_t width) const {
    const ort::Tensor tensor = context.input(index);
    if (tensor.count == 0 && index == 2) return nullptr;
    if (tensor.count == width) return numbers(tensor);
    refuse((index == 1 ? "scale" : "bias") + std::string(" of shape ") + shape_text(tensor.shape) +
           " does not fit rows of " + std::to_string(width) + ".");
  }

  static float* statistic(const ort::Context& context, size_t index, const Rows& rows,
                          float* spare) {
    void* wanted = context.optional_output(index, ort::kFloat, rows.shape);
    return wanted != nullptr ? static_cast<float*>(wanted) : spare;
  }

  static void divide(float* sums, const Rows& rows) {
    const FloatEnvironment nearest(false);
    const auto width = static_cast<float>(rows.width);
    for (int64_t row = 0; row < rows.count; ++row) sums[row] = plain_nan(sums[row] / width);
  }

  void invert(float* variances, const Rows& rows) const {
    const FloatEnvironment nearest(false);
    for (int64_t row = 0; row < rows.count; ++row) {
      variances[row] = plain_nan(1 / std::sqrt(variances[row] + epsilon_));
    }
  }

  [[noreturn]] void refuse(const std::string& what) const {
    throw ort::Error("LayerNormalization node '" + name_ + "': " + what);
  }

  ComputeAttributes compute_;
  std::string name_;
  int64_t axis_;
  float epsilon_;
};

// The one or the other, as a profile is named or not.
class LayerNormalization {
 public:
  static constexpr const char* kName = "LayerNormalization";
  static constexpr ort::Parameter kInputs[] = {
      {ort::kFloat}, {ort::kFloat}, {ort::kFloat, ort::kOptional}, {ort::kInt64, ort::kOptional}};
  static constexpr ort::Parameter kOutputs[] = {
      {ort::kFloat}, {ort::kFloat, ort::kOptional}, {ort::kFloat, ort::kOptional}};
  static constexpr bool kInPlace = false;

  static void infer(const ort::Inference&) {}

  explicit LayerNormalization(const ort::KernelAttributes& node) {
    if (node.text("arithmetic").empty()) {
      kernel_.emplace<FloatLayerNormalization>(node);
    } else {
      kernel_.emplace<ProfiledLayerNormalization>(node);
    }
  }

  void compute(const ort::Context& context) const {
    if (const auto* floats = std::get_if<FloatLayerNormalization>(&kernel_)) {
      floats->compute(context);
    } else {
      std::get<ProfiledLayerNormalization>(kernel_).compute(context);
    }
  }

 private:
  std::variant<std::monostate, FloatLayerNormalization, ProfiledLayerNormalization> kernel_;
};

}  // namespace

const ort::CustomOp* layer_normalization_operator(const ort::Api& api) {
  static const ort::OperatorOf<LayerNormalization> op(api);
  return &op;
}

}  // namespace onnxbf

// The gradients of what sums numbers, under an arithmetic profile.
#include "kept_memory.h"
#include "ops/around_sums.h"
#include "ops/compute_attributes.h"
#include "ops/custom_op.h"
#include "ops/operators.h"

namespace onnxbf {
namespace {

int64_t size_between(const std::vector<int64_t>& shape, int64_t first, int64_t last) {
  int64_t size = 1;
  for (int64_t i = first; i < last; ++i) size *= shape[static_cast<size_t>(i)];
  return size;
}

// What a cast makes of an operand, as long as it lives.
class Operand {
 public:
  Operand(const ort::Context& context, const std::optional<CastSpec>& cast,
          const ort::Tensor& tensor)
      : rounded_(cast ? static_cast<size_t>(tensor.count) : 0),
        data_(cast ? rounded_.data() : numbers(tensor)) {
    if (cast) round_numbers(context, *cast, numbers(tensor), rounded_.data(), tensor.count);
  }
  const float* data() const { return data_; }

 private:
  KeptMemory rounded_;
  const float* data_;
};

// dx = y * (dy - sum(dy * y)), for y = Softmax(x).
class SoftmaxGrad {
 public:
  static constexpr const char* kName = "SoftmaxGrad";
  static constexpr ort::Parameter kInputs[] = {
      {ort::kFloat}, {ort::kFloat}, {ort::kInt64, ort::kOptional}};
  static constexpr ort::Parameter kOutputs[] = {{ort::kFloat}};
  static constexpr bool kInPlace = false;

  static void infer(const ort::Inference&) {}

  explicit SoftmaxGrad(const ort::KernelAttributes& node)
      : compute_(node), name_(node.node_name()), axis_(node.integer("axis", -1)) {}

  void compute(const ort::Context& context) const {
    const ort::Tensor given_dy = context.input(0), given_y = context.input(1);
    const auto rank = static_cast<int64_t>(given_y.shape.size());
    const int64_t axis = axis_ < 0 ? axis_ + rank : axis_;
    if (given_dy.shape != given_y.shape || axis < 0 || axis >= rank) {
      throw ort::Error("SoftmaxGrad node '" + name_ + "': dy of shape " +
                       shape_text(given_dy.shape) + " and y of shape " +
                       shape_text(given_y.shape) + " do not fit together along axis " +
                       std::to_string(axis_) + ".");
    }
    auto* dx = static_cast<float*>(context.output(0, ort::kFloat, given_y.shape));
    if (given_y.count == 0) return;
    const SumShape shape{size_between(given_y.shape, 0, axis),
                         given_y.shape[static_cast<size_t>(axis)],
                         size_between(given_y.shape, axis + 1, rank)};
    const Operand left(context, compute_.cast_a, given_dy);
    const Operand right(context, compute_.cast_b, given_y);
    const float *dy = left.data(), *y = right.data();
    context.parallel(given_y.count, [&](int64_t begin, int64_t end) {
      const FloatEnvironment nearest(false);
      for (int64_t i = begin; i < end; ++i) dx[i] = plain_nan(dy[i] * y[i]);
    });
    std::vector<float> sums(static_cast<size_t>(shape.count()));
    compute_.sum(context, make_sums(shape, dx, sums.data()), 2);
    each_with_sum(context, shape, sums.data(),
                  [&](int64_t first, int64_t count, const float* sum, int64_t step) {
                    for (int64_t i = first; i < first + count; ++i) {
                      dx[i] = plain_nan((dy[i] - sum[(i - first) * step]) * y[i]);
                    }
                  });
    round_result(context, compute_.cast_y, dx, given_y.count);
  }

 private:
  ComputeAttributes compute_;
  std::string name_;
  int64_t axis_;
};

// The gradients of LayerNormalization, with n = (x - mean) * deviation and g = dy * scale:
// dx = (g - sum(g) / N - n * (sum(g * n) / N)) * deviation; sum(dy * n) and sum(dy) over rows.
class LayerNormGrad {
 public:
  static constexpr const char* kName = "LayerNormGrad";
  // dy, x, scale, mean, inverse deviation, step
  static constexpr ort::Parameter kInputs[] = {{ort::kFloat}, {ort::kFloat}, {ort::kFloat},
                                               {ort::kFloat}, {ort::kFloat},
                                               {ort::kInt64, ort::kOptional}};
  static constexpr ort::Parameter kOutputs[] = {
      {ort::kFloat, ort::kOptional}, {ort::kFloat, ort::kOptional}, {ort::kFloat, ort::kOptional}};
  static constexpr bool kInPlace = false;

  static void infer(const ort::Inference&) {}

  explicit LayerNormGrad(const ort::KernelAttributes& node)
      : compute_(node), name_(node.node_name()), axis_(node.integer("axis", -1)) {}

  void compute(const ort::Context& context) const {
    const ort::Tensor dy = context.input(0), x = context.input(1), scale = context.input(2);
    const Operand left(context, compute_.cast_a, dy);
    const Operand right(context, compute_.cast_b, x);
    const auto rank = static_cast<int64_t>(x.shape.size());
    const int64_t axis = axis_ < 0 ? axis_ + rank : axis_;
    if (axis < 0 || axis >= rank) refuse("axis " + std::to_string(axis_) + " is no dimension of x.");
    const int64_t count = size_between(x.shape, 0, axis), width = size_between(x.shape, axis, rank);
    const Rows rows{left.data(), right.data(), numbers(scale), numbers(context.input(3)),
                    numbers(context.input(4)), count, width};
    if (dy.shape != x.shape || scale.count != width || context.input(3).count != count ||
        context.input(4).count != count) {
      refuse("the shapes of dy, x, scale, mean and deviation do not fit each other.");
    }
    const KeptMemory terms(static_cast<size_t>(x.count));
    auto* dx = static_cast<float*>(context.optional_output(0, ort::kFloat, x.shape));
    if (dx != nullptr) to_input(context, rows, terms.data(), dx);
    const SumShape columns{1, count, width};
    auto* dscale = static_cast<float*>(context.optional_output(1, ort::kFloat, scale.shape));
    if (dscale != nullptr) {
      fill(context, rows, terms.data(), [&](int64_t row, int64_t i) {
        return rows.dy[row * width + i] * rows.normal(row, i);
      });
      add(context, columns, terms.data(), 2 * count, dscale);
    }
    auto* dbias = static_cast<float*>(context.optional_output(2, ort::kFloat, scale.shape));
    if (dbias != nullptr) add(context, columns, rows.dy, 2 * count + width, dbias);
  }

 private:
  struct Rows {
    const float *dy, *x, *scale, *mean, *deviation;
    int64_t count, width;

    float normal(int64_t row, int64_t i) const {
      return (x[row * width + i] - mean[row]) * deviation[row];
    }
    float scaled(int64_t row, int64_t i) const { return dy[row * width + i] * scale[i]; }
  };

  // terms = of(row, i)
  template <class Of>
  static void fill(const ort::Context& context, const Rows& rows, float* terms, const Of& of) {
    for_rows(context, rows.count, rows.width, [&](int64_t row) {
      float* to = terms + row * rows.width;
      for (int64_t i = 0; i < rows.width; ++i) to[i] = plain_nan(of(row, i));
    });
  }

  // `first`: the element that the first of the sums is, where they draw bits.
  void add(const ort::Context& context, const SumShape& shape, const float* terms, int64_t first,
           float* out) const {
    Sums sums = make_sums(shape, terms, out);
    sums.first = static_cast<uint64_t>(first);
    compute_.sum(context, std::move(sums), 5);
  }

  void to_input(const ort::Context& context, const Rows& rows, float* terms, float* dx) const {
    const SumShape shape{rows.count, rows.width, 1};
    std::vector<float> shift(static_cast<size_t>(rows.count)), stretch(shift.size());
    fill(context, rows, terms, [&](int64_t row, int64_t i) { return rows.scaled(row, i); });
    add(context, shape, terms, 0, shift.data());
    fill(context, rows, terms, [&](int64_t row, int64_t i) {
      return rows.scaled(row, i) * rows.normal(row, i);
    });
    add(context, shape, terms, rows.count, stretch.data());
    const auto width = static_cast<float>(rows.width);
    fill(context, rows, dx, [&](int64_t row, int64_t i) {
      const auto place = static_cast<size_t>(row);
      const float centred = rows.scaled(row, i) - shift[place] / width;
      return (centred - rows.normal(row, i) * (stretch[place] / width)) * rows.deviation[row];
    });
    round_result(context, compute_.cast_y, dx, rows.count * rows.width);
  }

  [[noreturn]] void refuse(const std::string& what) const {
    throw ort::Error("LayerNormGrad node '" + name_ + "': " + what);
  }

  ComputeAttributes compute_;
  std::string name_;
  int64_t axis_;
};

}  // namespace

const ort::CustomOp* softmax_grad_operator(const ort::Api& api) {
  static const ort::OperatorOf<SoftmaxGrad> op(api);
  return &op;
}

const ort::CustomOp* layer_norm_grad_operator(const ort::Api& api) {
  static const ort::OperatorOf<LayerNormGrad> op(api);
  return &op;
}

}  // namespace onnxbf

#include <algorithm>
#include <limits>
#include <string>

#include "casts.h"
#include "instruction_sets.h"
#include "ops/compute_attributes.h"
#include "ops/custom_op.h"
#include "ops/float_rows.h"
#include "ops/operators.h"

namespace onnxbf {
namespace {

using Sizes = std::vector<int64_t>;

enum Reduction : int32_t { kMean, kSum, kNone };

// What the loss and its gradient have in common: rows of numbers, one for each class, and labels.
class Classes {
 public:
  explicit Classes(const ort::KernelAttributes& node)
      : ignored_(node.integer("ignore_index", std::numeric_limits<int64_t>::min())),
        reduction_(node.choice("reduction", {"mean", "sum", "none"})) {}

 protected:
  ~Classes() = default;

  struct Labels {
    const int64_t* data;
    int64_t rows, width;
    float counted;  // rows that are not ignored
  };

  Labels read(const Sizes& shape, const ort::Tensor& labels) const {
    if (shape.size() != 2 || labels.shape != Sizes{shape[0]}) {
      throw ort::Error("there must be one row of numbers, and one label, for each example.");
    }
    const auto* data = static_cast<const int64_t*>(labels.data);
    int64_t counted = 0;
    for (int64_t i = 0; i < shape[0]; ++i) {
      if (data[i] == ignored_) continue;
      ++counted;
      if (data[i] >= 0 && data[i] < shape[1]) continue;
      throw ort::Error("label " + std::to_string(data[i]) + " is none of the " +
                       std::to_string(shape[1]) + " classes.");
    }
    return {data, shape[0], shape[1], static_cast<float>(counted)};
  }

  int64_t ignored_;
  int32_t reduction_;
};

// ONNX's SoftmaxCrossEntropyLoss of one label a row, without weights, and what its gradient may ask for instead
// of the logarithms of all probabilities.
class SoftmaxCrossEntropyLoss : Classes {
 public:
  static constexpr const char* kName = "SoftmaxCrossEntropyLoss";
  static constexpr ort::Parameter kInputs[] = {{ort::kFloat}, {ort::kInt64}};  // logits, labels
  static constexpr ort::Parameter kOutputs[] = {
      {ort::kFloat},                   // the loss
      {ort::kFloat, ort::kOptional},   // logarithms of probabilities
      {ort::kFloat, ort::kOptional},   // of each row the largest logit,
      {ort::kFloat, ort::kOptional}};  // and the logarithm of the sum
  static constexpr bool kInPlace = false;

  static void infer(const ort::Inference&) {}

  explicit SoftmaxCrossEntropyLoss(const ort::KernelAttributes& node) : Classes(node) {}

  void compute(const ort::Context& context) const {
    const ort::Tensor logits = context.input(0);
    const Labels labels = read(logits.shape, context.input(1));
    const Sizes one_each{labels.rows};
    auto* loss = floats(context.output(0, ort::kFloat, reduction_ == kNone ? one_each : Sizes{}));
    std::vector<float> sums(reduction_ == kNone ? 0 : static_cast<size_t>(labels.rows));
    const LossRows all{
        numbers(logits),
        labels.data,
        ignored_,
        labels.rows,
        labels.width,
        floats(context.optional_output(1, ort::kFloat, logits.shape)),
        floats(context.optional_output(2, ort::kFloat, one_each)),
        floats(context.optional_output(3, ort::kFloat, one_each)),
        reduction_ == kNone ? loss : sums.data(),
    };
    const auto cross_entropy = chosen_kernels().gradients.cross_entropy;
    for_some_rows(context, {labels.rows, labels.width}, [&](int64_t first, int64_t count) {
      LossRows rows = all;
      rows.logits += first * labels.width;
      rows.labels += first;
      rows.count = count;
      if (rows.log_probabilities != nullptr) rows.log_probabilities += first * labels.width;
      if (rows.largest != nullptr) rows.largest += first;
      if (rows.log_of_sum != nullptr) rows.log_of_sum += first;
      rows.losses += first;
      cross_entropy(rows);
    });
    if (reduction_ == kNone) return;
    double sum = 0;
    for (const float one : sums) sum += static_cast<double>(one);
    // As in ONNX Runtime, nothing to count costs nothing.
    const bool divides = reduction_ == kMean && labels.counted != 0;
    *loss = static_cast<float>(divides ? sum / static_cast<double>(labels.counted) : sum);
  }

 private:
  static float* floats(void* data) { return static_cast<float*>(data); }
};

// Its gradient, perhaps rounded.
class SoftmaxCrossEntropyLossGrad : Classes {
 public:
  static constexpr const char* kName = "SoftmaxCrossEntropyLossGrad";
  static constexpr ort::Parameter kInputs[] = {
      {ort::kFloat},                   // dy
      {ort::kFloat},                   // logarithms of probabilities; or logits, and
      {ort::kInt64},                   // labels
      {ort::kFloat, ort::kOptional},   // of each row the largest logit,
      {ort::kFloat, ort::kOptional}};  // and the logarithm of the sum
  static constexpr ort::Parameter kOutputs[] = {{ort::kFloat}};
  static constexpr bool kInPlace = true;
  static constexpr int32_t kInPlaceInput = 1;

  static void infer(const ort::Inference& node) { node.output_like_input(ort::kFloat, 1); }

  explicit SoftmaxCrossEntropyLossGrad(const ort::KernelAttributes& node)
      : Classes(node), rounding_(chosen_kernels(), {read_cast(node, "cast_y")}) {}

  void compute(const ort::Context& context) const {
    const ort::Tensor dy = context.input(0), logits = context.input(1);
    const Labels labels = read(logits.shape, context.input(2));
    if (dy.count != (reduction_ == kNone ? labels.rows : 1)) {
      throw ort::Error("dy is not of the shape of the loss.");
    }
    const float* largest = one_each(context, 3, labels.rows);
    const float* log_of_sum = one_each(context, 4, labels.rows);
    auto* dx = static_cast<float*>(context.output(0, ort::kFloat, logits.shape));
    if (logits.count == 0) return;
    const float scale = reduction_ == kMean ? *numbers(dy) / labels.counted : *numbers(dy);
    const int64_t step = reduction_ == kNone ? 1 : 0;
    const auto gradient = chosen_kernels().gradients.cross_entropy_gradient;
    const int64_t width = labels.width;
    for_some_rows(context, {labels.rows, width}, [&](int64_t first, int64_t count) {
      for_rows_at_a_time(width, first, count, [&](int64_t row, int64_t rows) {
        const int64_t begin = row * width;
        gradient({numbers(logits) + begin, largest == nullptr ? nullptr : largest + row,
                  log_of_sum == nullptr ? nullptr : log_of_sum + row, labels.data + row, ignored_,
                  rows, width, step == 0 ? &scale : numbers(dy) + row, step, dx + begin});
        rounding_(dx + begin, rows * width);
      });
    });
  }

 private:
  // nullptr: absent.
  static const float* one_each(const ort::Context& context, size_t index, int64_t rows) {
    if (!context.has_input(index)) return nullptr;
    const ort::Tensor tensor = context.input(index);
    if (tensor.shape == Sizes{rows}) return numbers(tensor);
    throw ort::Error("there must be one largest logit, and one logarithm of a sum, for each row.");
  }

  // As many as a cast, where there is one, finds in the first cache.
  template <class Body>
  void for_rows_at_a_time(int64_t width, int64_t first, int64_t count, const Body& body) const {
    constexpr int64_t kCached = 2048;
    const int64_t some = rounding_.empty() ? count : std::max<int64_t>(kCached / width, 1);
    for (int64_t row = 0; row < count; row += some) {
      body(first + row, std::min(some, count - row));
    }
  }

  Casts rounding_;
};

}  // namespace

const ort::CustomOp* cross_entropy_operator(const ort::Api& api) {
  static const ort::OperatorOf<SoftmaxCrossEntropyLoss> op(api);
  return &op;
}

const ort::CustomOp* cross_entropy_grad_operator(const ort::Api& api) {
  static const ort::OperatorOf<SoftmaxCrossEntropyLossGrad> op(api);
  return &op;
}

}  // namespace onnxbf

#include <limits>
#include <string>

#include "instruction_sets.h"
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

// ONNX's SoftmaxCrossEntropyLoss of one label a row, without weights, with both of its outputs.
class SoftmaxCrossEntropyLoss : Classes {
 public:
  static constexpr const char* kName = "SoftmaxCrossEntropyLoss";
  static constexpr ort::Parameter kInputs[] = {{ort::kFloat}, {ort::kInt64}};  // logits, labels
  static constexpr ort::Parameter kOutputs[] = {{ort::kFloat}, {ort::kFloat}};
  static constexpr bool kInPlace = false;

  static void infer(const ort::Inference&) {}

  explicit SoftmaxCrossEntropyLoss(const ort::KernelAttributes& node) : Classes(node) {}

  void compute(const ort::Context& context) const {
    const ort::Tensor logits = context.input(0);
    const Labels labels = read(logits.shape, context.input(1));
    const Sizes shape = reduction_ == kNone ? Sizes{labels.rows} : Sizes{};
    auto* loss = static_cast<float*>(context.output(0, ort::kFloat, shape));
    auto* out = static_cast<float*>(context.output(1, ort::kFloat, logits.shape));
    const auto* from = static_cast<const float*>(logits.data);
    std::vector<float> sums(reduction_ == kNone ? 0 : static_cast<size_t>(labels.rows));
    float* losses = reduction_ == kNone ? loss : sums.data();
    const auto cross_entropy = chosen_kernels().gradients.cross_entropy;
    for_some_rows(context, {labels.rows, labels.width}, [&](int64_t first, int64_t count) {
      const int64_t begin = first * labels.width;
      cross_entropy({from + begin, labels.data + first, ignored_, count, labels.width, out + begin,
                     losses + first});
    });
    if (reduction_ == kNone) return;
    double sum = 0;
    for (const float one : sums) sum += static_cast<double>(one);
    // As in ONNX Runtime, nothing to count costs nothing.
    const bool divides = reduction_ == kMean && labels.counted != 0;
    *loss = static_cast<float>(divides ? sum / static_cast<double>(labels.counted) : sum);
  }
};

// Its gradient.
class SoftmaxCrossEntropyLossGrad : Classes {
 public:
  static constexpr const char* kName = "SoftmaxCrossEntropyLossGrad";
  static constexpr ort::Parameter kInputs[] = {
      {ort::kFloat}, {ort::kFloat}, {ort::kInt64}};  // dy, logarithms of probabilities, labels
  static constexpr ort::Parameter kOutputs[] = {{ort::kFloat}};
  static constexpr bool kInPlace = false;

  static void infer(const ort::Inference&) {}

  explicit SoftmaxCrossEntropyLossGrad(const ort::KernelAttributes& node) : Classes(node) {}

  void compute(const ort::Context& context) const {
    const ort::Tensor dy = context.input(0), logarithms = context.input(1);
    const Labels labels = read(logarithms.shape, context.input(2));
    if (dy.count != (reduction_ == kNone ? labels.rows : 1)) {
      throw ort::Error("dy is not of the shape of the loss.");
    }
    auto* dx = static_cast<float*>(context.output(0, ort::kFloat, logarithms.shape));
    if (logarithms.count == 0) return;
    const auto* from = static_cast<const float*>(logarithms.data);
    const auto* given = static_cast<const float*>(dy.data);
    const float scale = reduction_ == kMean ? *given / labels.counted : *given;
    const int64_t step = reduction_ == kNone ? 1 : 0;
    const auto gradient = chosen_kernels().gradients.cross_entropy_gradient;
    for_some_rows(context, {labels.rows, labels.width}, [&](int64_t first, int64_t count) {
      const int64_t begin = first * labels.width;
      gradient({from + begin, labels.data + first, ignored_, count, labels.width,
                step == 0 ? &scale : given + first, step, dx + begin});
    });
  }
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

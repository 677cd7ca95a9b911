#include <string>

#include "instruction_sets.h"
#include "ops/custom_op.h"
#include "ops/operators.h"
#include "range.h"

namespace onnxbf {
namespace {

// float32 to integers of a few bits, over the range of the numbers, and back.
class QuantizeRange {
 public:
  static constexpr const char* kName = "QuantizeRange";
  static constexpr ort::Parameter kInputs[] = {{ort::kFloat}, {ort::kInt64, ort::kOptional}};
  static constexpr ort::Parameter kOutputs[] = {{ort::kFloat}};
  static constexpr bool kInPlace = false;

  static void infer(const ort::Inference& node) { node.output_like_input(ort::kFloat); }

  explicit QuantizeRange(const ort::KernelAttributes& node)
      : spec_{static_cast<int32_t>(node.integer("bits", 8, 2, 8)),
              node.choice("grouping", {"tensor", "sample", "householder"}),
              node.choice("zero", {"free", "exact"}), node.choice("rounding", {"rne", "sr"})},
        seed_(static_cast<uint64_t>(node.integer("seed", 0))),
        node_(static_cast<uint32_t>(node.integer("node", 0, 0, ort::kWord))) {}

  void compute(const ort::Context& context) const {
    const ort::Tensor x = context.input(0);
    const auto step = static_cast<uint32_t>(context.number(1, "step", ort::kWord));
    const int64_t rows = x.shape.empty() ? 1 : x.shape[0];
    if (const char* reason = problem(spec_, rows)) throw ort::Error(std::string(reason) + ".");
    auto* out = static_cast<float*>(context.output(0, ort::kFloat, x.shape));
    const Tasks tasks = [&](int64_t count, const std::function<void(int64_t)>& task) {
      context.parallel_tasks(count, task);
    };
    const RandomKey key{seed_, node_, step};
    quantize_range(chosen_kernels(), spec_, key, static_cast<const float*>(x.data), out, rows,
                   rows == 0 ? 0 : x.count / rows, tasks);
  }

 private:
  RangeSpec spec_;
  uint64_t seed_;
  uint32_t node_;
};

}  // namespace

const ort::CustomOp* quantize_range_operator(const ort::Api& api) {
  static const ort::OperatorOf<QuantizeRange> op(api);
  return &op;
}

}  // namespace onnxbf

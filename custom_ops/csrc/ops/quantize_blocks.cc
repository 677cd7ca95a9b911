#include <string>

#include "block.h"
#include "instruction_sets.h"
#include "ops/custom_op.h"
#include "ops/operators.h"

namespace onnxbf {
namespace {

constexpr int32_t kRoundings[] = {kNearestEven, kNearestAway, kTowardZero, kStochastic};

// float32 to a block format along an axis, and back.
class QuantizeBlocks {
 public:
  static constexpr const char* kName = "QuantizeBlocks";
  static constexpr ort::Parameter kInputs[] = {{ort::kFloat}, {ort::kInt64, ort::kOptional}};
  static constexpr ort::Parameter kOutputs[] = {{ort::kFloat}};
  static constexpr bool kInPlace = false;

  static void infer(const ort::Inference& node) { node.output_like_input(ort::kFloat); }

  explicit QuantizeBlocks(const ort::KernelAttributes& node)
      : spec_{static_cast<int32_t>(node.integer("exponent_bits", 4, 0, 5)),
              static_cast<int32_t>(node.integer("mantissa_bits", 3, 1, 7)),
              node.choice("specials", {"nan", "ieee", "none"}),
              kRoundings[node.choice("rounding", {"rne", "rna", "rtz", "sr"})],
              static_cast<int32_t>(node.integer("block", 32, 1, INT32_MAX))},
        axis_(node.integer("axis", -1)),
        seed_(static_cast<uint64_t>(node.integer("seed", 0))),
        node_(static_cast<uint32_t>(node.integer("node", 0, 0, ort::kWord))) {
    constexpr int32_t kSpecials[] = {kNan, kIeee, kNone};
    spec_.specials = kSpecials[spec_.specials];
    if (const char* reason = problem(spec_)) throw ort::Error(std::string(reason) + ".");
  }

  void compute(const ort::Context& context) const {
    const ort::Tensor x = context.input(0);
    const auto step = static_cast<uint32_t>(context.number(1, "step", ort::kWord));
    auto* out = static_cast<float*>(context.output(0, ort::kFloat, x.shape));
    const Tasks tasks = [&](int64_t count, const std::function<void(int64_t)>& task) {
      context.parallel_tasks(count, task);
    };
    const RandomKey key{seed_, node_, step};
    quantize_blocks(chosen_kernels(), spec_, key, static_cast<const float*>(x.data), out, along(x),
                    tasks);
  }

 private:
  AxisShape along(const ort::Tensor& x) const {
    const auto rank = static_cast<int64_t>(x.shape.size());
    if (rank == 0) return {1, 1, 1};
    if (axis_ < -rank || axis_ >= rank) {
      throw ort::Error("attribute 'axis' is " + std::to_string(axis_) + ", but x has " +
                       std::to_string(rank) + " dimensions.");
    }
    const int64_t axis = axis_ < 0 ? axis_ + rank : axis_;
    AxisShape shape{1, x.shape[static_cast<size_t>(axis)], 1};
    for (int64_t i = 0; i < axis; ++i) shape.outer *= x.shape[static_cast<size_t>(i)];
    for (int64_t i = axis + 1; i < rank; ++i) shape.inner *= x.shape[static_cast<size_t>(i)];
    return shape;
  }

  BlockSpec spec_;
  int64_t axis_;
  uint64_t seed_;
  uint32_t node_;
};

}  // namespace

const ort::CustomOp* quantize_blocks_operator(const ort::Api& api) {
  static const ort::OperatorOf<QuantizeBlocks> op(api);
  return &op;
}

}  // namespace onnxbf

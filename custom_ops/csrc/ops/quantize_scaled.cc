#include <string>
#include <vector>

#include "instruction_sets.h"
#include "ops/custom_op.h"
#include "ops/operators.h"
#include "scaled.h"

namespace onnxbf {
namespace {

constexpr int64_t kLongest = int64_t{1} << 20;

CastSpec read_cast(const ort::KernelAttributes& node) {
  CastSpec spec{};
  spec.exponent_bits = static_cast<int32_t>(node.integer("exponent_bits", 4, 2, 5));
  spec.mantissa_bits = static_cast<int32_t>(node.integer("mantissa_bits", 3, 1, 23));
  constexpr int32_t kSpecials[] = {kNan, kIeee, kNone};
  spec.specials = kSpecials[node.choice("specials", {"nan", "ieee", "none"})];
  spec.rounding = node.choice("rounding", {"rne", "rna", "rtz", "rup", "rdn", "rto", "sr"});
  spec.flush = node.choice("subnormals", {"keep", "flush"});
  spec.saturate = 1;
  spec.random_bits = static_cast<int32_t>(node.integer("random_bits", 32, 1, 32));
  return spec;
}

// What both operators have.
class Scaled {
 public:
  Scaled(const ort::KernelAttributes& node, int32_t history, int32_t most_recent)
      : spec_{read_cast(node), history, most_recent,
              static_cast<int32_t>(node.integer("margin", 0, 0, 15)),
              node.choice("scale", {"fp32", "power_of_two"})},
        seed_(static_cast<uint64_t>(node.integer("seed", 0))),
        node_(static_cast<uint32_t>(node.integer("node", 0, 0, ort::kWord))) {
    if (const char* reason = problem(spec_)) throw ort::Error(std::string(reason) + ".");
  }

 protected:
  ~Scaled() = default;

  // `health`: the output that says what rounding made of the scaled numbers, if it is asked for.
  void round(const ort::Context& context, int64_t step, const float* state, float* next,
             size_t health) const {
    const ort::Tensor x = context.input(0);
    auto* out = static_cast<float*>(context.output(0, ort::kFloat, x.shape));
    const Tasks tasks = [&](int64_t count, const std::function<void(int64_t)>& task) {
      context.parallel_tasks(count, task);
    };
    const RandomKey key{seed_, node_, static_cast<uint32_t>(step)};
    void* fields = context.optional_output(health, ort::kDouble, {kRoundingFields});
    std::vector<RoundingTile> tiles(fields == nullptr ? 0 : static_cast<size_t>(tiles_of(x.count)));
    quantize_scaled(chosen_kernels(), spec_, key, static_cast<const float*>(x.data), out, x.count,
                    state, next, tasks, fields == nullptr ? nullptr : tiles.data());
    if (fields != nullptr) add_up(tiles.data(), x.count, static_cast<double*>(fields));
  }

  const ScaledSpec& spec() const { return spec_; }

 private:
  ScaledSpec spec_;
  uint64_t seed_;
  uint32_t node_;
};

// float32 scaled by what the tensor's own largest magnitude asks for, rounded, and scaled back.
class QuantizeScaled : Scaled {
 public:
  static constexpr const char* kName = "QuantizeScaled";
  static constexpr ort::Parameter kInputs[] = {{ort::kFloat}, {ort::kInt64, ort::kOptional}};
  static constexpr ort::Parameter kOutputs[] = {{ort::kFloat}, {ort::kDouble, ort::kOptional}};
  static constexpr bool kInPlace = true;

  // Nothing of an optional output, which may be none of the node: ONNX Runtime does not check.
  static void infer(const ort::Inference& node) { node.output_like_input(ort::kFloat); }

  explicit QuantizeScaled(const ort::KernelAttributes& node) : Scaled(node, 0, 0) {}

  void compute(const ort::Context& context) const {
    round(context, context.number(1, "step", ort::kWord), nullptr, nullptr, 1);
  }
};

// The same, by what the tensors of the steps before ask for.
class QuantizeDelayed : Scaled {
 public:
  static constexpr const char* kName = "QuantizeDelayed";
  static constexpr ort::Parameter kInputs[] = {
      {ort::kFloat}, {ort::kFloat}, {ort::kInt64, ort::kOptional}};
  static constexpr ort::Parameter kOutputs[] = {
      {ort::kFloat}, {ort::kFloat, ort::kOptional}, {ort::kDouble, ort::kOptional}};
  static constexpr bool kInPlace = true;

  static void infer(const ort::Inference& node) { node.output_like_input(ort::kFloat); }

  explicit QuantizeDelayed(const ort::KernelAttributes& node)
      : Scaled(node, static_cast<int32_t>(node.integer("history", 1024, 1, kLongest)),
               node.choice("amax", {"max", "most_recent"})) {}

  void compute(const ort::Context& context) const {
    const int64_t step = context.number(2, "step", ort::kWord), size = spec().history + 1;
    const ort::Tensor state = context.input(1);
    if (state.count != size) {
      throw ort::Error("input 'state' has " + std::to_string(state.count) +
                       " numbers, but must have " + std::to_string(size) +
                       ", one more than attribute 'history'.");
    }
    auto* next = static_cast<float*>(context.optional_output(1, ort::kFloat, {size}));
    round(context, step, static_cast<const float*>(state.data), next, 2);
  }
};

}  // namespace

const ort::CustomOp* quantize_scaled_operator(const ort::Api& api) {
  static const ort::OperatorOf<QuantizeScaled> op(api);
  return &op;
}

const ort::CustomOp* quantize_delayed_operator(const ort::Api& api) {
  static const ort::OperatorOf<QuantizeDelayed> op(api);
  return &op;
}

}  // namespace onnxbf

#include <algorithm>

#include "elementwise.h"
#include "instruction_sets.h"
#include "ops/custom_op.h"
#include "ops/operators.h"
#include "ops/program_attribute.h"

namespace onnxbf {
namespace {

// How many groups of tensors a node has, of whose inputs the shared numbers come last.
size_t groups_of(const Program& program, size_t inputs) {
  const auto shared = static_cast<size_t>(program.shared);
  const auto each = static_cast<size_t>(program.inputs);
  if (each > 0 && inputs > shared && (inputs - shared) % each == 0) return (inputs - shared) / each;
  throw ort::Error("its " + std::to_string(inputs) + " inputs are not a multiple of the " +
                   std::to_string(each) + " tensors of its program, and " +
                   std::to_string(shared) + " shared numbers.");
}

bool ends_with(const std::vector<int64_t>& shape, const std::vector<int64_t>& end) {
  return end.size() <= shape.size() && std::equal(end.rbegin(), end.rend(), shape.rbegin());
}

// One program over many groups of tensors, in one pass over memory. Where it is observed, what its
// roundings did to the numbers is its first output.
template <bool kObserved>
class ElementwiseNode {
 public:
  static constexpr size_t kFirst = kObserved ? 1 : 0;  // of the outputs that are tensors

  static void infer_tensors(const ort::Inference& node) {
    const Program program = read_program(node.text("program"));
    const auto each = static_cast<size_t>(program.inputs);
    const auto outputs = static_cast<size_t>(program.outputs);
    const size_t groups = groups_of(program, node.input_count());
    if (kObserved) {
      node.output_vector(0, ort::kDouble, static_cast<int64_t>(groups) * fields_of(program));
    }
    for (size_t i = 0; i < groups * outputs; ++i) {
      node.output_like_input(ort::kFloat, i / outputs * each, kFirst + i);
    }
  }

  explicit ElementwiseNode(const ort::KernelAttributes& node)
      : program_(read_program(node.text("program"))) {}

  void compute(const ort::Context& context) const {
    const size_t count = groups_of(program_, context.input_count());
    std::vector<const float*> shared;
    for (size_t i = 0; i < static_cast<size_t>(program_.shared); ++i) {
      const ort::Tensor number = context.input(count * static_cast<size_t>(program_.inputs) + i);
      if (number.count != 1) throw ort::Error("shared inputs must hold one number.");
      shared.push_back(static_cast<const float*>(number.data));
    }
    std::vector<Group> groups;
    for (size_t i = 0; i < count; ++i) groups.push_back(group(context, i));
    const int64_t elements = elements_of(groups);
    std::vector<RoundingTile> tiles;
    if (kObserved) tiles.resize(static_cast<size_t>(elements / kTile * program_.casts));
    context.parallel(elements, [&](int64_t begin, int64_t end) {
      run_program(chosen_kernels(), program_, groups, shared, begin, end,
                  kObserved ? tiles.data() : nullptr);
    });
    if (!kObserved) return;
    const int64_t fields = static_cast<int64_t>(count) * fields_of(program_);
    void* health = context.output(0, ort::kDouble, {fields});
    add_up(program_, groups, tiles.data(), static_cast<double*>(health));
  }

 private:
  static int64_t fields_of(const Program& program) { return program.casts * kRoundingFields; }

  Group group(const ort::Context& context, size_t index) const {
    const auto each = static_cast<size_t>(program_.inputs);
    const auto outputs = static_cast<size_t>(program_.outputs);
    const size_t first = index * each;
    const ort::Tensor whole = context.input(first);
    Group group{{}, {}, {}, whole.count};
    for (size_t i = 0; i < each; ++i) {
      const ort::Tensor tensor = context.input(first + i);
      if (tensor.count != 1 && !ends_with(whole.shape, tensor.shape)) {
        throw ort::Error("input " + std::to_string(first + i) + " has neither the shape of input " +
                         std::to_string(first) + ", the first of its group, nor that of its rows, " +
                         "nor one element.");
      }
      group.inputs.push_back(static_cast<const float*>(tensor.data));
      group.periods.push_back(tensor.count);
    }
    for (size_t i = 0; i < outputs; ++i) {
      void* output = context.output(kFirst + index * outputs + i, ort::kFloat, whole.shape);
      group.outputs.push_back(static_cast<float*>(output));
    }
    return group;
  }

  Program program_;
};

class Elementwise : public ElementwiseNode<false> {
 public:
  static constexpr const char* kName = "Elementwise";
  static constexpr ort::Parameter kInputs[] = {{ort::kFloat, ort::kVariadic}};
  static constexpr ort::Parameter kOutputs[] = {{ort::kFloat, ort::kVariadic}};
  static constexpr bool kInPlace = true;
  static void infer(const ort::Inference& node) { infer_tensors(node); }
  using ElementwiseNode::ElementwiseNode;
};

class ElementwiseObserved : public ElementwiseNode<true> {
 public:
  static constexpr const char* kName = "ElementwiseObserved";
  static constexpr ort::Parameter kInputs[] = {{ort::kFloat, ort::kVariadic}};
  static constexpr ort::Parameter kOutputs[] = {{ort::kDouble}, {ort::kFloat, ort::kVariadic}};
  static constexpr bool kInPlace = true;
  static constexpr int32_t kInPlaceOutput = 1;
  static void infer(const ort::Inference& node) { infer_tensors(node); }
  using ElementwiseNode::ElementwiseNode;
};

}  // namespace

const ort::CustomOp* elementwise_operator(const ort::Api& api) {
  static const ort::OperatorOf<Elementwise> op(api);
  return &op;
}

const ort::CustomOp* elementwise_observed_operator(const ort::Api& api) {
  static const ort::OperatorOf<ElementwiseObserved> op(api);
  return &op;
}

}  // namespace onnxbf

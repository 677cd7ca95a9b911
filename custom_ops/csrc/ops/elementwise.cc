#include <algorithm>
#include <stdexcept>

#include "elementwise.h"
#include "instruction_sets.h"
#include "ops/custom_op.h"
#include "ops/operators.h"

namespace onnxbf {
namespace {

Program read_program(const std::string& text) {
  try {
    return parse_program(text);
  } catch (const std::invalid_argument& error) {
    throw ort::Error("attribute 'program': " + std::string(error.what()) + ".");
  }
}

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

// One program over many groups of tensors, in one pass over memory.
class Elementwise {
 public:
  static constexpr const char* kName = "Elementwise";
  static constexpr ort::Parameter kInputs[] = {{ort::kFloat, ort::kVariadic}};
  static constexpr ort::Parameter kOutputs[] = {{ort::kFloat, ort::kVariadic}};
  static constexpr bool kInPlace = true;

  static void infer(const ort::Inference& node) {
    const Program program = read_program(node.text("program"));
    const auto each = static_cast<size_t>(program.inputs);
    const auto outputs = static_cast<size_t>(program.outputs);
    const size_t groups = groups_of(program, node.input_count());
    for (size_t i = 0; i < groups * outputs; ++i) {
      node.output_like_input(ort::kFloat, i / outputs * each, i);
    }
  }

  explicit Elementwise(const ort::KernelAttributes& node)
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
    int64_t elements = 0;
    for (size_t i = 0; i < count; ++i) {
      groups.push_back(group(context, i));
      elements += groups.back().count;
    }
    context.parallel(elements, [&](int64_t begin, int64_t end) {
      run_program(chosen_kernels(), program_, groups, shared, begin, end);
    });
  }

 private:
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
      void* output = context.output(index * outputs + i, ort::kFloat, whole.shape);
      group.outputs.push_back(static_cast<float*>(output));
    }
    return group;
  }

  Program program_;
};

}  // namespace

const ort::CustomOp* elementwise_operator(const ort::Api& api) {
  static const ort::OperatorOf<Elementwise> op(api);
  return &op;
}

}  // namespace onnxbf

// Programs of elementwise float32 operations, run over groups of tensors in one pass over memory.
//
// Every step is one IEEE 754 operation, rounded to nearest even, or a rounding of its own, so that a program gives the bits of
// its steps run one after the other on whole tensors: on every instruction set, for every split of a
// tensor, whatever the CPU's floating-point control register says. NaNs keep no payload.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernels.h"
#include "steps.h"

namespace onnxbf {

struct Kernels;

// What a step reads or writes.
struct Place {
  enum Kind : int32_t { kInput, kShared, kTemporary, kOutput, kNone } kind;
  int32_t index;
};

struct Instruction {
  Operation operation;           // where it does not round
  std::optional<CastSpec> cast;  // where it does
  Place result, a, b;
};

struct Program {
  std::vector<Instruction> steps;
  int32_t inputs = 0, shared = 0, temporaries = 0, outputs = 0;
  bool reads_overwritten = false;  // x0 after y0 is written, which may lie in the same place
};

// Reads steps like "Mul t0 x1 s0; Sub t0 x0 t0; bf16:rne y0 t0": an operator, or a cast that is not
// stochastic, its result, its operands. x: inputs of a group, s: numbers that all groups share, t:
// temporaries, y: outputs of a group. Throws std::invalid_argument, which says what is wrong.
Program parse_program(const std::string& text);

// One tensor for each input and output, of `count` elements. `periods`: after how many an input
// repeats: `count`, 1 for a single number, or the elements of a row. The first output may lie where the
// first input does, but tensors do not overlap otherwise.
struct Group {
  std::vector<const float*> inputs;
  std::vector<int64_t> periods;
  std::vector<float*> outputs;
  int64_t count;
};

// Runs a program on the elements [begin, end) of all groups, laid end to end.
void run_program(const Kernels& kernels, const Program& program, const std::vector<Group>& groups,
                 const std::vector<const float*>& shared, int64_t begin, int64_t end);

}  // namespace onnxbf

// Programs of elementwise float32 operations, run over groups of tensors in one pass over memory.
//
// Every step is one IEEE 754 operation, rounded to nearest even, so that a program gives the bits of
// its steps run one after the other on whole tensors: on every instruction set, for every split of a
// tensor, whatever the CPU's floating-point control register says. NaNs keep no payload.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "steps.h"

namespace onnxbf {

struct Kernels;

// What a step reads or writes.
struct Place {
  enum Kind : int32_t { kInput, kShared, kTemporary, kOutput, kNone } kind;
  int32_t index;
};

struct Instruction {
  Operation operation;
  Place result, a, b;
};

struct Program {
  std::vector<Instruction> steps;
  int32_t inputs = 0, shared = 0, temporaries = 0, outputs = 0;
};

// Reads steps like "Mul t0 x1 s0; Sub y0 x0 t0": an operator, its result, its operands. x: inputs of
// a group, s: numbers that all groups share, t: temporaries, y: outputs of a group. Throws
// std::invalid_argument, which says what is wrong.
Program parse_program(const std::string& text);

// One tensor for each input and output, of `count` elements; an input may be a single number.
struct Group {
  std::vector<const float*> inputs;
  std::vector<bool> single;
  std::vector<float*> outputs;
  int64_t count;
};

// Runs a program on the elements [begin, end) of all groups, laid end to end.
void run_program(const Kernels& kernels, const Program& program, const std::vector<Group>& groups,
                 const std::vector<const float*>& shared, int64_t begin, int64_t end);

}  // namespace onnxbf

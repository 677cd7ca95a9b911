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

#include "plan.h"
#include "steps.h"

namespace onnxbf {

struct Kernels;

constexpr int32_t kMostTemporaries = 16;  // of a program

// What a step reads or writes.
struct Place {
  enum Kind : int32_t { kInput, kShared, kTemporary, kOutput, kNone } kind;
  int32_t index;
};

// How a step rounds, worked out once.
struct Cast {
  int32_t index;   // among those of its program
  int32_t kernel;  // RoundKernel
  Plan plan;
};

struct Instruction {
  Operation operation;       // where it does not round
  std::optional<Cast> cast;  // where it does
  Place result, a, b;
};

// What a step reads: rows of numbers, so many floats apart, or one number that stands for all of them.
struct Source {
  const float* numbers;
  bool single;
  int64_t stride = 0;
};

// What it writes.
struct Target {
  float* numbers;
  int64_t stride, rows, columns;
};

// Computes one step. What is written may be what is read.
void run_step(const Kernels& kernels, const Instruction& step, Source a, Source b,
              const Target& out);

struct Program {
  std::vector<Instruction> steps;
  int32_t inputs = 0, shared = 0, temporaries = 0, outputs = 0, casts = 0;
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

// How many elements groups have that are laid end to end, each filled up to a whole number of tiles.
int64_t elements_of(const std::vector<Group>& groups);

// Runs a program on the elements [begin, end) of all groups, laid so; `begin` is a multiple of kTile.
// `tiles`: where to say what each step that rounds made of each tile, those of a step one after the
// other; nullptr: nowhere.
void run_program(const Kernels& kernels, const Program& program, const std::vector<Group>& groups,
                 const std::vector<const float*>& shared, int64_t begin, int64_t end,
                 RoundingTile* tiles = nullptr);

// Those tiles, added up: kRoundingFields numbers for each step that rounds, group by group.
void add_up(const Program& program, const std::vector<Group>& groups, const RoundingTile* tiles,
            double* fields);

}  // namespace onnxbf

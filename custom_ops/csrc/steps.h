// The kernels of elementwise programs: one function for each operation.
#pragma once

#include <cstdint>

namespace onnxbf {

enum class Operation : int32_t {
#define ONNXBF_STEP(name, operands) name,
#include "elementwise.inc"
  kCount,
};
constexpr auto kOperations = static_cast<int32_t>(Operation::kCount);

// Rows of numbers to be computed, and what of. Strides count floats from row to row; where one number stands
// for all, there is none. Unary operations do not read `b`. `out` may be `a` or `b`, stride and all.
struct StepRows {
  int64_t rows, columns;
  const float* a;
  int64_t a_stride;
  const float* b;
  int64_t b_stride;
  float* out;
  int64_t out_stride;
};
using StepFunction = void (*)(const StepRows& step);

struct StepKernels {
  // By operation, and by which operands are one number for all elements: 1 the first, 2 the second.
  StepFunction functions[kOperations][4];
};

}  // namespace onnxbf

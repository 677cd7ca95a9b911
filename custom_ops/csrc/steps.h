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

// Computes `count` numbers; unary operations do not read `b`. `out` may be `a` or `b`.
using StepFunction = void (*)(const float* a, const float* b, float* out, int64_t count);

struct StepKernels {
  // By operation, and by which operands are one number for all elements: 1 the first, 2 the second.
  StepFunction functions[kOperations][4];
};

}  // namespace onnxbf

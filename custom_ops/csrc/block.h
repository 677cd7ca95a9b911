// Quantizing to block formats: elements of a few bits, of which every block along an axis shares an
// exponent (OCP Microscaling Formats). onnxbf/block_quantizer.py is the specification.
//
// Scaling by powers of two is exact, short of numbers that then round to zero; the rounding between
// is that of kernels.h: the same bits on every instruction set and for every number of threads.
#pragma once

#include <cstdint>

#include "kernels.h"
#include "range.h"

namespace onnxbf {

struct BlockKernels {
  // The bits of the largest magnitude of `count` numbers; NaN is the largest of all.
  uint32_t (*largest)(const float* x, int64_t count);
  // The same for each of `count` columns: magnitudes = the larger of magnitudes and |x|.
  void (*larger)(const float* x, uint32_t* magnitudes, int64_t count);
  // out = x * by, kept within -max and max. `by` is one number, or of `_each` element one.
  void (*scale)(const float* x, const float* by, float max, float* out, int64_t count);
  void (*scale_each)(const float* x, const float* by, float max, float* out, int64_t count);
  // out = x * by, in place; where `by` is NaN, that NaN.
  void (*restore)(const float* by, float* out, int64_t count);
  void (*restore_each)(const float* by, float* out, int64_t count);
};

struct BlockSpec {
  int32_t exponent_bits;  // of an element, 2 to 5; 0: integers from -127 to 127, times 2^-6
  int32_t mantissa_bits;  // 1 to 7; 6 of integers
  int32_t specials;       // Specials
  int32_t rounding;       // Rounding, but none that is directed up, down or to odd
  int32_t block;          // elements of a block; the last along the axis may be shorter
};

// Why `spec` names no block format, in one sentence; nullptr where it does.
const char* problem(const BlockSpec& spec);

// A tensor seen along an axis of `length`: `outer` numbers before it, `inner` behind it.
struct AxisShape {
  int64_t outer, length, inner;
};

// `out` is not `in`.
void quantize_blocks(const Kernels& kernels, const BlockSpec& spec, const RandomKey& key,
                     const float* in, float* out, const AxisShape& shape, const Tasks& tasks);

}  // namespace onnxbf

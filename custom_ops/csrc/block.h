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

// What a block with some largest magnitude is multiplied by, before it is rounded and after.
struct BlockScale {
  int32_t max_exponent;  // of the largest element
  float max;             // that element: scaled numbers are kept within it
};

struct BlockKernels {
  // The bits of the largest magnitude of `count` numbers; NaN is the largest of all.
  uint32_t (*largest)(const float* x, int64_t count);
  // Blocks that follow each other, of `size` numbers: scaled into `out`, each by what its largest
  // magnitude asks for. `back`: for each block, what undoes that, NaN where a number is not finite.
  void (*scale_rows)(const BlockScale& scale, const float* x, int64_t size, int64_t blocks,
                     float* out, float* back);
  // out = x * back, in place; where `back` is NaN, that NaN.
  void (*restore_rows)(const float* back, int64_t size, int64_t blocks, float* out);

  // Blocks that lie beside each other, a number of each at a time. First the largest magnitudes:
  // magnitudes = the larger of magnitudes and |x|.
  void (*larger)(const float* x, uint32_t* magnitudes, int64_t count);
  // Then what these ask for.
  void (*factors)(const BlockScale& scale, const uint32_t* magnitudes, float* by, float* back,
                  int64_t count);
  // out = x * by, kept within -max and max; out = x * back as above.
  void (*scale_each)(const float* x, const float* by, float max, float* out, int64_t count);
  void (*restore_each)(const float* back, float* out, int64_t count);
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

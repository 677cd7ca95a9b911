// Sums of tensor cores as they are modelled: products and the accumulator are cut off below a common
// last place and added. onnxbf/dot.py (_add_aligned) is the specification.
#pragma once

#include <cstdint>

namespace onnxbf {

constexpr int64_t kLongestGroup = 64;

struct Alignment {
  int32_t bits;            // places below the largest exponent that count
  int32_t least_exponent;  // of a factor that is not zero: subnormal numbers have this one
  bool to_odd;             // how a sum becomes float32, to be rounded further; else it is cut off
};

// sum + a[0] * b[0] + a[a_stride] * b[b_stride] ..., `count` products. Factors have at most 11
// significant bits. Compiled once, for any CPU; expects rounding to nearest.
float add_aligned(const Alignment& alignment, int64_t count, const float* a, int64_t a_stride,
                  const float* b, int64_t b_stride, float sum);

}  // namespace onnxbf

// Sums of numbers under an arithmetic profile: dot products (gemm.h) whose other factor is one.
//
// The same bits on every instruction set and for any number of threads; onnxbf/dot.py (total) is the
// specification.
#pragma once

#include "gemm.h"

namespace onnxbf {

// The layout of what is summed: of outer x inner x after numbers, those along `inner`.
struct SumShape {
  int64_t outer, inner, after;

  int64_t count() const { return outer * after; }
};

struct Sums {
  Factor terms;          // for each matrix, `count` sums of `inner` numbers
  int64_t count, inner;
  float* out;            // matrices x count
  RandomKey random{};    // of sums that are rounded stochastically
  uint64_t first = 0;    // the element that the first sum is, for them
};

// Sums of numbers at `data` that lie as `shape` says.
Sums make_sums(const SumShape& shape, const float* data, float* out);

void sum(const Kernels& kernels, const Arithmetic& arithmetic, const Sums& sums,
         const ParallelFor& parallel);

}  // namespace onnxbf

// What becomes of the results of a product before they are written: a program of elementwise operations
// (elementwise.h), whose x0 they are.
#pragma once

#include <vector>

#include "ahead.h"
#include "elementwise.h"
#include "gemm.h"

namespace onnxbf {

class Epilogue {
 public:
  static constexpr int32_t kMostOthers = 7;
  static constexpr int64_t kWidestPart = 512;

  // What the program reads beside the results: a tensor that repeats after `period` numbers. That is one, or a
  // multiple of the columns of a product.
  struct Other {
    const float* numbers;
    int64_t period;
  };
  // Some of the results: columns [column, column + columns) of lines [line, line + lines) of all products, one
  // below the other; in memory of their own `width` numbers are from line to line.
  struct Part {
    int64_t width, line, lines, column, columns;
  };

  // `program`: one that reads so many others, kMostOthers or fewer, shares no numbers, and has one output, after
  // which it does not read x0. `columns`: of a product.
  Epilogue(const Kernels& kernels, const Program& program, const std::vector<Other>& others,
           int64_t columns)
      : kernels_(kernels), program_(program), others_(others), columns_(columns) {}

  // What a part will read: it stands line by line, which the CPU does not foresee.
  void ask_ahead(const Part& part, Ahead& ahead) const;
  // From the results to lines that are so many floats apart, which may be those of the results. The
  // caller has set the floating-point environment.
  void run(const Part& part, float* results, float* out, int64_t out_stride) const;
  // The same of all results of a product, where they are written.
  void run_all(const Product& product, const ParallelFor& parallel) const;

 private:
  const Kernels& kernels_;
  const Program& program_;
  const std::vector<Other>& others_;
  int64_t columns_;
};

}  // namespace onnxbf

// A factor of small products: read where it stands where nothing has to be done to it, else brought into
// memory near by.
#pragma once

#include <vector>

#include "casts.h"
#include "gemm.h"

namespace onnxbf {

class SmallFactor {
 public:
  // The left one, of so many rows, and the right one, whose columns fill `width`, the last ones with zeros.
  static SmallFactor left(const Kernels& kernels, const Arithmetic& arithmetic, const Factor& factor,
                          int64_t rows, int64_t inner);
  static SmallFactor right(const Kernels& kernels, const Arithmetic& arithmetic,
                           const Factor& factor, int64_t columns, int64_t inner, int64_t width);

  // Where the factor of one product is to be read; `memory`, of so many floats, is where it may be brought.
  const float* take(int64_t batch, float* memory) const;
  int64_t floats() const { return (turned_ ? length_ : lines_) * to_stride_; }

  // Floats from line to line: along the sums of a right factor, or of a left one that has none along rows.
  int64_t stride() const { return to_stride_; }

  // What take() will read, in parts of so many cache lines, one below the other: where in a matrix they begin.
  std::vector<int64_t> parts(int64_t lines) const;
  int64_t part_step() const { return from_stride_; }

  const float* matrix(int64_t batch) const {
    return factor_.matrices[static_cast<size_t>(factor_.used[static_cast<size_t>(batch)])];
  }

 private:
  SmallFactor(const Kernels& kernels, const Arithmetic& arithmetic, const Factor& factor);

  const Factor& factor_;
  const TileKernels& tiles_;
  Casts casts_;
  uint32_t lost_;  // bits, see Casts
  int64_t lines_ = 0, length_ = 0, from_stride_ = 0, to_stride_ = 0;  // as they stand in memory
  bool turned_ = false;  // columns become lines
};

}  // namespace onnxbf

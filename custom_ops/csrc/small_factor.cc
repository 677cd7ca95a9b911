#include "small_factor.h"

#include <algorithm>

#include "float_environment.h"

namespace onnxbf {

SmallFactor::SmallFactor(const Kernels& kernels, const Arithmetic& arithmetic, const Factor& factor)
    : factor_(factor),
      tiles_(kernels.tiles),
      casts_(kernels, {factor.cast, arithmetic.operands}),
      lost_(casts_.lost(arithmetic.flush && FloatEnvironment::kReadsZeros, factor.rounded)) {}

SmallFactor SmallFactor::left(const Kernels& kernels, const Arithmetic& arithmetic,
                              const Factor& factor, int64_t rows, int64_t inner) {
  SmallFactor taken(kernels, arithmetic, factor);
  const bool along_rows = factor.inner_stride == 1;
  taken.lines_ = along_rows ? rows : inner;
  taken.length_ = taken.to_stride_ = along_rows ? inner : rows;
  taken.from_stride_ = along_rows ? factor.outer_stride : factor.inner_stride;
  return taken;
}

SmallFactor SmallFactor::right(const Kernels& kernels, const Arithmetic& arithmetic,
                               const Factor& factor, int64_t columns, int64_t inner,
                               int64_t width) {
  SmallFactor taken(kernels, arithmetic, factor);
  taken.turned_ = factor.outer_stride != 1;
  taken.lines_ = taken.turned_ ? columns : inner;
  taken.length_ = taken.turned_ ? inner : columns;
  taken.from_stride_ = taken.turned_ ? factor.outer_stride : factor.inner_stride;
  taken.to_stride_ = width;
  return taken;
}

const float* SmallFactor::take(int64_t batch, float* memory) const {
  const float* from = matrix(batch);
  const int64_t columns = turned_ ? lines_ : length_;
  if (!turned_ && from_stride_ == length_ && to_stride_ == length_) {
    const int64_t count = lines_ * length_;
    if (lost_ == 0 || (tiles_.bits_set(from, count) & lost_) == 0) return from;
    casts_(from, memory, count);
    return memory;
  }
  if (columns < to_stride_) std::fill_n(memory, floats(), 0.0f);
  const LinesFunction bring = turned_ ? tiles_.turn_lines : tiles_.copy_lines;
  const uint32_t bits = bring(from, from_stride_, lines_, length_, memory, to_stride_);
  if ((bits & lost_) != 0) casts_(memory, floats());
  return memory;
}

std::vector<int64_t> SmallFactor::parts(int64_t lines) const {
  std::vector<int64_t> places;
  for (int64_t line = 0; line < lines_; line += lines) {
    for (int64_t i = 0; i < length_; i += kCacheLine) places.push_back(line * from_stride_ + i);
  }
  return places;
}

}  // namespace onnxbf

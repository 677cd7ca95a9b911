// Tiles of small products, whose factors are read where they stand: see small.h.
#pragma once

#include "float_tile-inl.h"

namespace onnxbf::ONNXBF_INSTRUCTION_SET {
namespace {

constexpr int kSecondCache = 2;  // for __builtin_prefetch

template <int64_t kCount = kRows>
uint32_t small_tile(const SmallTile& tile) {
  if constexpr (kCount > 1) {
    if (tile.rows < kCount) return small_tile<kCount - 1>(tile);
  }
  Registers<kCount> registers{};
  const int64_t row_stride = tile.a_row, apart = kTogether * row_stride;
  const int64_t flip = tile.odd_first ? 1 : 0;
  const AddFloat32 step{tile.flush};
  for (int64_t k = 0; k < tile.inner; ++k) {
    __builtin_prefetch(tile.ahead + k * tile.ahead_step, 0, kSecondCache);
    __builtin_prefetch(tile.written + k * tile.written_step);
    const float* a = tile.a + (k ^ flip) * tile.a_step;
    const float* b = tile.b + (k ^ flip) * tile.b_step;
    Float right[kVectors];
    load_right(b, right);
    const auto of_row = [&](int64_t row) {
      const float* rows = a + row / kTogether * apart;
      return rows[row % kTogether * row_stride];
    };
    step.of_rows(of_row, right, registers.sums);
  }
  ONNXBF_UNROLL
  for (int64_t row = 0; row < kCount; ++row) {
    ONNXBF_UNROLL
    for (int64_t v = 0; v < kVectors; ++v) {
      store(tile.sums + row * tile.sums_row + v * kLanes, registers.sums[row][v]);
    }
  }
  return registers.largest();
}

}  // namespace
}  // namespace onnxbf::ONNXBF_INSTRUCTION_SET

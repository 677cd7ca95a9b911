// Tiles of products whose left factor is read where it stands: see StandingTile.
#pragma once

#include "float_tile-inl.h"

namespace onnxbf::ONNXBF_INSTRUCTION_SET {
namespace {

template <int64_t kCount = kRows>
uint32_t standing_tile(const StandingTile& tile) {
  if constexpr (kCount > 1) {
    if (tile.rows < kCount) return standing_tile<kCount - 1>(tile);
  }
  const int64_t row_stride = tile.a_row;
  const float* a[(kCount + kTogether - 1) / kTogether];
  const float* first = tile.a + (tile.odd_first ? 1 : 0);
  for (const float*& rows : a) {
    rows = first;
    first += kTogether * row_stride;
  }
  const float *b = tile.b, *end = b + tile.count * kColumns;
  int64_t on = tile.odd_first ? -1 : 1;  // to the next product, and from there to the one after
  const AddFloat32 step{tile.flush};
  Places* next = tile.ahead;
  Registers<kCount> registers{};
  if (!tile.starts) registers.load_from(tile.sums);
  do {
    while (next->count == 0) ++next;
    const int64_t left = (end - b) / kColumns, some = left < next->count ? left : next->count;
    const int64_t ahead_step = next->step;
    const float *ahead = next->from, *until = b + some * kColumns;
    do {
      Float right[kVectors];
      load_right(b, right);
      prefetch_right(b);
      __builtin_prefetch(ahead);
      __builtin_prefetch(ahead + kCacheLine);
      ahead += ahead_step;
      const auto of_row = [&](int64_t row) {
        return a[row / kTogether][row % kTogether * row_stride];
      };
      step.of_rows(of_row, right, registers.sums);
      ONNXBF_UNROLL
      for (const float*& rows : a) rows += on;
      on = 2 - on;
      b += kColumns;
    } while (b != until);
    *next = {ahead, ahead_step, next->count - some};
  } while (b != end);
  registers.store_to(tile.sums);
  return tile.ends ? registers.largest() : 0;
}

}  // namespace
}  // namespace onnxbf::ONNXBF_INSTRUCTION_SET

// Tiles of products whose left factor is read where it stands: see StandingTile.
#pragma once

#include "gemm-inl.h"
#include "instruction_sets.h"

namespace onnxbf::ONNXBF_INSTRUCTION_SET {
namespace {

template <int64_t kCount = kRows>
void standing_tile(const StandingTile& tile) {
  if constexpr (kCount > 1) {
    if (tile.rows < kCount) return standing_tile<kCount - 1>(tile);
  }
  // Addresses of three rows share a register: x86 multiplies what it adds to an address by 1 and 2.
  constexpr int64_t kTogether = 3, kAhead = 8;
  const int64_t row_stride = tile.a_row, step = tile.a_step;
  const float* a[(kCount + kTogether - 1) / kTogether];
  const float* first = tile.a + (tile.odd_first ? step : 0);
  for (const float*& rows : a) {
    rows = first;
    first += kTogether * row_stride;
  }
  const float *b = tile.b, *end = b + tile.count * kColumns;
  int64_t on = tile.odd_first ? -step : step;  // to the next product, and from there to the one after
  Registers<kCount> registers{};
  if (!tile.starts) registers.load_from(tile.sums);
  do {
    Float right[kVectors];
    ONNXBF_UNROLL
    for (int64_t v = 0; v < kVectors; ++v) right[v] = load<Float>(b + v * kLanes);
    prefetch_operands(a[0] + kAhead * (step - 2 * kRows), b);
    ONNXBF_UNROLL
    for (int64_t row = 0; row < kCount; ++row) {
      const Float left = spread(a[row / kTogether][row % kTogether * row_stride]);
      ONNXBF_UNROLL
      for (int64_t v = 0; v < kVectors; ++v) {
        Float& sum = registers.sums[row][v];
        sum = multiply_add(left, right[v], sum, tile.flush);
      }
    }
    ONNXBF_UNROLL
    for (const float*& rows : a) rows += on;
    on = 2 * step - on;
    b += kColumns;
  } while (b != end);
  registers.store_to(tile.sums);
}

}  // namespace
}  // namespace onnxbf::ONNXBF_INSTRUCTION_SET

// TDPBF16PS for the profile that it defines, on CPUs with AMX. All else is AVX-512's.
//
// onnxbf/dot.py says what it computes.
#include <immintrin.h>

#include <algorithm>

#include "amx.h"

#define ONNXBF_PAIRS avx512_amx

#include "pack_pairs-inl.h"

namespace onnxbf::ONNXBF_PAIRS {
namespace {

constexpr int64_t kColumns = 32;
constexpr int64_t kTogether = 128;  // pairs: so many of a panel of b stay in the nearest cache

// Of so many tiles of 16 rows.
template <int kTiles>
ONNXBF_AMX void add_rows(int64_t pairs, const uint32_t* a, int64_t a_stride, const uint32_t* b,
                         float* sums) {
  constexpr int64_t kStride = kColumns * sizeof(float);
  const int64_t stride = a_stride * static_cast<int64_t>(sizeof *a);
  float* lower = sums + kTileRows * kColumns;
  load_tile<0>(sums, kStride);
  load_tile<1>(sums + kTileRows, kStride);
  if constexpr (kTiles == 2) {
    load_tile<2>(lower, kStride);
    load_tile<3>(lower + kTileRows, kStride);
  }
  for (int64_t i = 0; i < pairs; i += kChunkPairs, a += kChunkPairs, b += kChunkPairs * kColumns) {
    load_tile<6>(b, kStride);
    load_tile<4>(a, stride);
    load_tile<7>(b + kTileRows, kStride);
    add_tile_products<0, 4, 6>();
    add_tile_products<1, 4, 7>();
    if constexpr (kTiles == 2) {
      load_tile<5>(a + kTileRows * a_stride, stride);
      add_tile_products<2, 5, 6>();
      add_tile_products<3, 5, 7>();
    }
  }
  store_tile<0>(sums, kStride);
  store_tile<1>(sums + kTileRows, kStride);
  if constexpr (kTiles == 2) {
    store_tile<2>(lower, kStride);
    store_tile<3>(lower + kTileRows, kStride);
  }
}

ONNXBF_AMX void add(int64_t rows, int64_t pairs, const uint32_t* a, int64_t a_stride,
                    const uint32_t* b, float* sums) {
  const Tiles tiles(kChunkPairs);
  for (int64_t i = 0; i < pairs; i += kTogether, a += kTogether, b += kTogether * kColumns) {
    const int64_t count = std::min(kTogether, pairs - i);
    for (int64_t row = 0; row < rows; row += 2 * kTileRows) {
      const auto add_some = rows - row > kTileRows ? add_rows<2> : add_rows<1>;
      add_some(count, a + row * a_stride, a_stride, b, sums + row * kColumns);
    }
  }
}

}  // namespace

extern const PairTiles pair_tiles;
const PairTiles pair_tiles = {add, narrow, spread_pairs, turn};

}  // namespace onnxbf::ONNXBF_PAIRS

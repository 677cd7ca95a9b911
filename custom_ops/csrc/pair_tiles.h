// Products of pairs of bfloat16 numbers by tiles of 16 rows, as AMX computes them: kernels of the instruction sets
// that have them.
//
// A word holds a pair: the even number in its lower half, the odd one in its upper half. The left factor comes in
// rows of pairs, the right one in panels: rows of one pair for each of 32 columns. Both are filled up to whole
// chunks of 16 pairs, by pairs whose products are -0: they change no sum, of whatever sign.
#pragma once

#include <cstdint>

namespace onnxbf {

constexpr int64_t kChunkPairs = 16, kTileRows = 16;

struct PairTiles {
  // Adds `pairs` pairs, in whole chunks, to rows of 32 sums. Reads `a`, and reads and writes `sums`, as if there were
  // a multiple of 16 rows. `a_stride`: words from row to row.
  void (*add)(int64_t rows, int64_t pairs, const uint32_t* a, int64_t a_stride, const uint32_t* b,
              float* sums);
  // The upper halves of numbers. Returns the bits that are set in some of them.
  uint32_t (*narrow)(const float* from, int64_t count, uint16_t* to);
  // The same of two lines, whose numbers become pairs: to panels, which are `stride` words apart. May write 15 words
  // too many into the last one, but no more than 32 in all.
  uint32_t (*spread)(const float* even, const float* odd, int64_t length, uint32_t* to,
                     int64_t stride);
  // Word k of so many lines, at most 16, goes to line k, for the first `count` words, at most 16, which become lines
  // of 16. Reads 16 words of each.
  void (*turn)(const uint32_t* from, int64_t from_stride, int64_t lines, int64_t count, uint32_t* to,
               int64_t to_stride);
};


}  // namespace onnxbf

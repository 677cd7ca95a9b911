// The same kernels as kernels_avx512_bf16.cc and kernels_avx512_amx.cc, with functions in the place of VDPBF16PS and
// TDPBF16PS: so that all around the instructions can be tested on CPUs that lack them. Slow, and used where they are
// asked for by name alone.
#include <immintrin.h>

#include "tdpbf16ps.h"
#include "vdpbf16ps.h"

#define ONNXBF_PAIRS avx512_stand_in

namespace onnxbf::ONNXBF_PAIRS {
namespace {

inline __m512 add_pair(__m512 sums, __m512i a, __m512i b) {
  constexpr int64_t kVector = 16;
  float numbers[kVector];
  uint32_t left[kVector], right[kVector];
  _mm512_storeu_ps(numbers, sums);
  _mm512_storeu_si512(left, a);
  _mm512_storeu_si512(right, b);
  for (int64_t i = 0; i < kVector; ++i) numbers[i] = vdpbf16ps(numbers[i], left[i], right[i]);
  return _mm512_loadu_ps(numbers);
}

}  // namespace
}  // namespace onnxbf::ONNXBF_PAIRS

#include "pack_pairs-inl.h"
#include "pairs-inl.h"

namespace onnxbf::ONNXBF_PAIRS {
namespace {

void add_tiles(int64_t rows, int64_t pairs, const uint32_t* a, int64_t a_stride, const uint32_t* b,
               float* sums) {
  for (int64_t i = 0; i < rows * kColumns; ++i) {
    const uint32_t* row = a + i / kColumns * a_stride;
    for (int64_t first = 0; first < pairs; first += kChunkPairs) {
      sums[i] = tdpbf16ps(sums[i], kChunkPairs, row + first, b + first * kColumns + i % kColumns,
                          kColumns);
    }
  }
}

}  // namespace

extern const PairTiles pair_tiles;
const PairTiles pair_tiles = {add_tiles, narrow, spread_pairs, turn};

}  // namespace onnxbf::ONNXBF_PAIRS

// VDPBF16PS for the profile that it defines, on CPUs with AVX512_BF16. All else is AVX-512's.
//
// Source: Intel SDM, VDPBF16PS. Each lane adds the product of the odd elements to its sum, then that of
// the even ones: FP32 multiply-adds, rounded to nearest even, subnormals zero where they are read and
// written, whatever the control register says. Of NaNs, that of a's even element comes first, then
// b's, then those of the odd ones, then the sum's. onnxbf/dot.py says the same of every pair.
#include <immintrin.h>

#include <cstdint>

#include "instruction_sets.h"

namespace onnxbf::avx512_bf16 {
namespace {

constexpr int64_t kRows = 12;  // as the tiles of AVX-512
constexpr int64_t kVectors = 2;
constexpr int64_t kLanes = 16;
constexpr int64_t kColumns = kVectors * kLanes;

inline __m512bh load_pairs(const uint32_t* from) {
  __m512bh pairs;
  __builtin_memcpy(&pairs, from, sizeof pairs);
  return pairs;
}

inline __m512bh spread(uint32_t pair) {
  const __m512i words = _mm512_set1_epi32(static_cast<int32_t>(pair));
  __m512bh pairs;
  __builtin_memcpy(&pairs, &words, sizeof pairs);
  return pairs;
}

void tile_pairs(int64_t pairs, const uint32_t* a, const uint32_t* b, float* sums) {
  __m512 tile[kRows][kVectors];
#pragma GCC unroll 16
  for (int64_t row = 0; row < kRows; ++row) {
#pragma GCC unroll 16
    for (int64_t v = 0; v < kVectors; ++v) {
      tile[row][v] = _mm512_loadu_ps(sums + row * kColumns + v * kLanes);
    }
  }
  for (int64_t k = 0; k < pairs; ++k, a += kRows, b += kColumns) {
    __m512bh right[kVectors];
#pragma GCC unroll 16
    for (int64_t v = 0; v < kVectors; ++v) right[v] = load_pairs(b + v * kLanes);
#pragma GCC unroll 16
    for (int64_t row = 0; row < kRows; ++row) {
      const __m512bh left = spread(a[row]);
#pragma GCC unroll 16
      for (int64_t v = 0; v < kVectors; ++v) {
        tile[row][v] = _mm512_dpbf16_ps(tile[row][v], left, right[v]);
      }
    }
  }
#pragma GCC unroll 16
  for (int64_t row = 0; row < kRows; ++row) {
#pragma GCC unroll 16
    for (int64_t v = 0; v < kVectors; ++v) {
      _mm512_storeu_ps(sums + row * kColumns + v * kLanes, tile[row][v]);
    }
  }
}

}  // namespace

extern const PairsFunction pairs;
const PairsFunction pairs = tile_pairs;

}  // namespace onnxbf::avx512_bf16

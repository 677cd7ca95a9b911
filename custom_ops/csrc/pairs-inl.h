// Tiles of pairs of bfloat16 products, around an instruction that adds a pair, or what stands in for it:
//
//     __m512 add_pair(__m512 sums, __m512i a, __m512i b)
//
// kernels_avx512_bf16.cc and kernels_avx512_stand_in.cc include this file once, after that.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "instruction_sets.h"

namespace onnxbf::ONNXBF_PAIRS {
namespace {

constexpr int64_t kRows = 12;  // as the tiles of AVX-512
constexpr int64_t kVectors = 2;
constexpr int64_t kLanes = 16;
constexpr int64_t kColumns = kVectors * kLanes;

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
    __m512i right[kVectors];
#pragma GCC unroll 16
    for (int64_t v = 0; v < kVectors; ++v) right[v] = _mm512_loadu_si512(b + v * kLanes);
#pragma GCC unroll 16
    for (int64_t row = 0; row < kRows; ++row) {
      const __m512i left = _mm512_set1_epi32(static_cast<int32_t>(a[row]));
#pragma GCC unroll 16
      for (int64_t v = 0; v < kVectors; ++v) {
        tile[row][v] = add_pair(tile[row][v], left, right[v]);
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

}  // namespace onnxbf::ONNXBF_PAIRS

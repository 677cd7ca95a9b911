// Numbers that are in bfloat16 already, on their way into rows and panels of pairs (pair_tiles.h), by AVX-512.
//
// The kernels of ONNXBF_PAIRS include this file once.
#pragma once

#include <immintrin.h>

#include "pair_tiles.h"

namespace onnxbf::ONNXBF_PAIRS {
namespace {

constexpr int64_t kWords = 16;

inline __mmask16 first_words(int64_t count) { return static_cast<__mmask16>((1u << count) - 1); }

// The upper halves of two rows of numbers, those of `odd` above those of `even`.
inline __m512i pairs_of(__m512i even, __m512i odd) {
  return _mm512_mask_blend_epi16(0xAAAAAAAA, _mm512_srli_epi32(even, 16), odd);
}

uint32_t narrow(const float* from, int64_t count, uint16_t* to) {
  __m512i bits = _mm512_setzero_si512();
  int64_t i = 0;
  for (; i + kWords <= count; i += kWords) {
    const __m512i numbers = _mm512_loadu_si512(from + i);
    bits = _mm512_or_si512(bits, numbers);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i),
                        _mm512_cvtepi32_epi16(_mm512_srli_epi32(numbers, 16)));
  }
  if (i < count) {
    const __m512i numbers = _mm512_maskz_loadu_epi32(first_words(count - i), from + i);
    bits = _mm512_or_si512(bits, numbers);
    _mm256_mask_storeu_epi16(to + i, first_words(count - i),
                             _mm512_cvtepi32_epi16(_mm512_srli_epi32(numbers, 16)));
  }
  return static_cast<uint32_t>(_mm512_reduce_or_epi32(bits));
}

uint32_t spread_pairs(const float* even, const float* odd, int64_t length, uint32_t* to,
                      int64_t stride) {
  constexpr int64_t kColumns = 2 * kWords;
  __m512i bits = _mm512_setzero_si512();
  int64_t i = 0;
  for (; i + kColumns <= length; i += kColumns, to += stride) {
    for (int64_t j = 0; j < kColumns; j += kWords) {
      const __m512i left = _mm512_loadu_si512(even + i + j), right = _mm512_loadu_si512(odd + i + j);
      bits = _mm512_or_si512(bits, _mm512_or_si512(left, right));
      _mm512_storeu_si512(to + j, pairs_of(left, right));
    }
  }
  for (int64_t j = 0; i < length; i += kWords, j += kWords) {
    const __mmask16 some = first_words(length - i < kWords ? length - i : kWords);
    const __m512i left = _mm512_maskz_loadu_epi32(some, even + i);
    const __m512i right = _mm512_maskz_loadu_epi32(some, odd + i);
    bits = _mm512_or_si512(bits, _mm512_or_si512(left, right));
    _mm512_storeu_si512(to + j, pairs_of(left, right));
  }
  return static_cast<uint32_t>(_mm512_reduce_or_epi32(bits));
}

// Row i of `rows` vectors becomes column i.
inline void turn_words(__m512i (&rows)[kWords]) {
  __m512i by_two[kWords], by_four[kWords];
#pragma GCC unroll 16
  for (int64_t i = 0; i < kWords; i += 2) {
    by_two[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
    by_two[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
  }
#pragma GCC unroll 16
  for (int64_t i = 0; i < kWords; i += 4) {
#pragma GCC unroll 2
    for (int64_t j = 0; j < 2; ++j) {
      by_four[i + 2 * j] = _mm512_unpacklo_epi64(by_two[i + j], by_two[i + 2 + j]);
      by_four[i + 2 * j + 1] = _mm512_unpackhi_epi64(by_two[i + j], by_two[i + 2 + j]);
    }
  }
#pragma GCC unroll 4
  for (int64_t i = 0; i < 4; ++i) {
    const __m512i low = _mm512_shuffle_i32x4(by_four[i], by_four[4 + i], 0x88);
    const __m512i high = _mm512_shuffle_i32x4(by_four[i], by_four[4 + i], 0xDD);
    const __m512i other_low = _mm512_shuffle_i32x4(by_four[8 + i], by_four[12 + i], 0x88);
    const __m512i other_high = _mm512_shuffle_i32x4(by_four[8 + i], by_four[12 + i], 0xDD);
    rows[i] = _mm512_shuffle_i32x4(low, other_low, 0x88);
    rows[4 + i] = _mm512_shuffle_i32x4(high, other_high, 0x88);
    rows[8 + i] = _mm512_shuffle_i32x4(low, other_low, 0xDD);
    rows[12 + i] = _mm512_shuffle_i32x4(high, other_high, 0xDD);
  }
}

void turn(const uint32_t* from, int64_t from_stride, int64_t lines, int64_t count, uint32_t* to,
          int64_t to_stride) {
  __m512i rows[kWords];
  for (int64_t i = 0; i < kWords; ++i) {
    rows[i] = i < lines ? _mm512_loadu_si512(from + i * from_stride) : _mm512_setzero_si512();
  }
  turn_words(rows);
  for (int64_t i = 0; i < count; ++i) _mm512_storeu_si512(to + i * to_stride, rows[i]);
}

}  // namespace
}  // namespace onnxbf::ONNXBF_PAIRS

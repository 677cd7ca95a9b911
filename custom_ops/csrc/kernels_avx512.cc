// Sixteen lanes, AVX-512 (F, BW, DQ and VL).
#include <immintrin.h>

#include <cstdint>

#define ONNXBF_INSTRUCTION_SET avx512

namespace onnxbf::avx512 {
namespace {

using Word = uint32_t __attribute__((vector_size(64)));
using Wide = uint64_t __attribute__((vector_size(64)));
using Doubles = double __attribute__((vector_size(64)));
constexpr int kChains = 4;

inline Word smaller_of(Word a, Word b) { return (Word)_mm512_min_epi32((__m512i)a, (__m512i)b); }
inline Word larger_of(Word a, Word b) { return (Word)_mm512_max_epi32((__m512i)a, (__m512i)b); }

inline Wide multiply_low(Wide a, Wide b) { return (Wide)_mm512_mul_epu32((__m512i)a, (__m512i)b); }

inline Wide upper_half(Wide a) { return (Wide)_mm512_shuffle_epi32((__m512i)a, _MM_PERM_CDAB); }

inline Wide interleave(Wide a, Wide b) {
  return (Wide)_mm512_mask_shuffle_epi32((__m512i)a, 0xAAAA, (__m512i)b, _MM_PERM_CDAB);
}

inline Doubles widen_low(Word words) {
  return (Doubles)_mm512_cvtps_pd(_mm512_castps512_ps256((__m512)words));
}
inline Doubles widen_high(Word words) {
  return (Doubles)_mm512_cvtps_pd(_mm512_extractf32x8_ps((__m512)words, 1));
}

inline void store_past_cache(void* to, Word words) {
  const __m512i from = (__m512i)words;
  if (reinterpret_cast<uintptr_t>(to) % sizeof from == 0) {
    _mm512_stream_si512(static_cast<__m512i*>(to), from);
    return;
  }
  __m128i* parts = static_cast<__m128i*>(to);
  _mm_stream_si128(parts, _mm512_castsi512_si128(from));
  _mm_stream_si128(parts + 1, _mm512_extracti32x4_epi32(from, 1));
  _mm_stream_si128(parts + 2, _mm512_extracti32x4_epi32(from, 2));
  _mm_stream_si128(parts + 3, _mm512_extracti32x4_epi32(from, 3));
}

inline void finish_stores() { _mm_sfence(); }

}  // namespace
}  // namespace onnxbf::avx512

#include "kernels-inl.h"

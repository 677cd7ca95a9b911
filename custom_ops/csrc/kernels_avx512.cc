// Sixteen lanes, AVX-512 (F, BW, DQ and VL).
#include <immintrin.h>

#include <cstdint>

#define ONNXBF_INSTRUCTION_SET avx512

namespace onnxbf::avx512 {
namespace {

using Word = uint32_t __attribute__((vector_size(64)));
using Wide = uint64_t __attribute__((vector_size(64)));
constexpr int kChains = 4;

inline Word smaller_of(Word a, Word b) { return (Word)_mm512_min_epi32((__m512i)a, (__m512i)b); }
inline Word larger_of(Word a, Word b) { return (Word)_mm512_max_epi32((__m512i)a, (__m512i)b); }

inline uint32_t largest_lane(Word a) {
  return static_cast<uint32_t>(_mm512_reduce_max_epi32((__m512i)a));
}

inline Wide multiply_low(Wide a, Wide b) { return (Wide)_mm512_mul_epu32((__m512i)a, (__m512i)b); }

inline Wide upper_half(Wide a) { return (Wide)_mm512_shuffle_epi32((__m512i)a, _MM_PERM_CDAB); }

inline Wide interleave(Wide a, Wide b) {
  return (Wide)_mm512_mask_shuffle_epi32((__m512i)a, 0xAAAA, (__m512i)b, _MM_PERM_CDAB);
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

using Float = float __attribute__((vector_size(64)));
constexpr int64_t kRows = 12;
constexpr int64_t kVectors = 2;

inline Float multiply_add(Float a, Float b, Float c, bool) {
  return (Float)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}

#define ONNXBF_CHOOSES_FLOATS
inline Float smaller_of(Float a, Float b) { return (Float)_mm512_min_ps((__m512)a, (__m512)b); }
inline Float larger_of(Float a, Float b) { return (Float)_mm512_max_ps((__m512)a, (__m512)b); }

#define ONNXBF_LOADS_SOME
inline __mmask16 first_lanes(int64_t count) { return static_cast<__mmask16>((1u << count) - 1); }

inline Float load_some(const float* from, int64_t count) {
  return (Float)_mm512_maskz_loadu_ps(first_lanes(count), from);
}

inline void store_some(float* to, Float lanes, int64_t count) {
  _mm512_mask_storeu_ps(to, first_lanes(count), (__m512)lanes);
}

// To odd: the one of both neighbours that is, where they are two.
#define ONNXBF_ROUNDS_TO_ODD
inline Float multiply_add_to_odd(Float a, Float b, Float c) {
  const __m512 x = (__m512)a, y = (__m512)b, z = (__m512)c;
  const __m512 below = _mm512_fmadd_round_ps(x, y, z, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  const __m512 above = _mm512_fmadd_round_ps(x, y, z, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC);
  const __mmask16 inexact = _mm512_cmp_ps_mask(below, above, _CMP_NEQ_OQ);
  const __m512i smaller = _mm512_min_epu32((__m512i)below, (__m512i)above);
  return (Float)_mm512_mask_or_epi32(smaller, inexact, smaller, _mm512_set1_epi32(1));
}

inline Float square_root(Float a) { return (Float)_mm512_sqrt_ps((__m512)a); }

#define ONNXBF_DOUBTS
struct Doubts {
  __mmask16 certain = 0xFFFF, doubtful = 0;

  void add(Word raised, Word rounded, Word dropped, Word smallest, Word range) {
    certain = _mm512_mask_test_epi32_mask(certain, (__m512i)raised, (__m512i)dropped);
    const Word magnitude = rounded & 0x7FFFFFFF;
    const __mmask16 not_zero = _mm512_test_epi32_mask((__m512i)magnitude, (__m512i)magnitude);
    const Word above = magnitude - smallest;
    doubtful |= _mm512_mask_cmpgt_epu32_mask(not_zero, (__m512i)above, (__m512i)range);
  }
  bool any() const { return certain != 0xFFFF || doubtful != 0; }
};

inline bool any_differs(Word a, Word b) {
  return _mm512_cmpneq_epi32_mask((__m512i)a, (__m512i)b) != 0;
}

inline bool any_is_zero(Word a) {
  return _mm512_testn_epi32_mask((__m512i)a, (__m512i)a) != 0;
}

#define ONNXBF_ADDS_TOWARDS_ZERO
inline Float add_towards_zero(Float a, Float b) {
  constexpr int kMode = _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC;
  return (Float)_mm512_add_round_ps((__m512)a, (__m512)b, kMode);
}

// Whether the lower 16 bits of some lane are zero.
template <int64_t kCount>
inline bool some_lower_half_is_zero(const Word (&words)[kCount]) {
  __mmask16 set = 0xFFFF;
  for (Word word : words) {
    set = _mm512_mask_test_epi32_mask(set, (__m512i)word, _mm512_set1_epi32(0xFFFF));
  }
  return set != 0xFFFF;
}

#define ONNXBF_TURNS_FOURS
inline Float load_fours(const float* from, int64_t stride) {
  __m512 rows = _mm512_castps128_ps512(_mm_loadu_ps(from));
  rows = _mm512_insertf32x4(rows, _mm_loadu_ps(from + stride), 1);
  rows = _mm512_insertf32x4(rows, _mm_loadu_ps(from + 2 * stride), 2);
  return (Float)_mm512_insertf32x4(rows, _mm_loadu_ps(from + 3 * stride), 3);
}

inline void turn_fours(Float (&rows)[4]) {
  const __m512 low = _mm512_unpacklo_ps((__m512)rows[0], (__m512)rows[1]);
  const __m512 high = _mm512_unpackhi_ps((__m512)rows[0], (__m512)rows[1]);
  const __m512 other_low = _mm512_unpacklo_ps((__m512)rows[2], (__m512)rows[3]);
  const __m512 other_high = _mm512_unpackhi_ps((__m512)rows[2], (__m512)rows[3]);
  rows[0] = (Float)_mm512_shuffle_ps(low, other_low, 0x44);
  rows[1] = (Float)_mm512_shuffle_ps(low, other_low, 0xEE);
  rows[2] = (Float)_mm512_shuffle_ps(high, other_high, 0x44);
  rows[3] = (Float)_mm512_shuffle_ps(high, other_high, 0xEE);
}

}  // namespace
}  // namespace onnxbf::avx512

#include "notes_x86-inl.h"

#include "kernels-inl.h"

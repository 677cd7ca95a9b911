// Eight lanes, AVX2.
#include <immintrin.h>

#include <cstdint>

#define ONNXBF_INSTRUCTION_SET avx2

namespace onnxbf::avx2 {
namespace {

using Word = uint32_t __attribute__((vector_size(32)));
using Wide = uint64_t __attribute__((vector_size(32)));
constexpr int kChains = 8;

inline Word smaller_of(Word a, Word b) { return (Word)_mm256_min_epi32((__m256i)a, (__m256i)b); }
inline Word larger_of(Word a, Word b) { return (Word)_mm256_max_epi32((__m256i)a, (__m256i)b); }

inline uint32_t largest_lane(Word a) {
  const __m256i lanes = (__m256i)a;
  __m128i half = _mm_max_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1));
  half = _mm_max_epi32(half, _mm_shuffle_epi32(half, 0x4E));
  half = _mm_max_epi32(half, _mm_shuffle_epi32(half, 0xB1));
  return static_cast<uint32_t>(_mm_cvtsi128_si32(half));
}

inline Wide multiply_low(Wide a, Wide b) { return (Wide)_mm256_mul_epu32((__m256i)a, (__m256i)b); }

inline Wide upper_half(Wide a) { return (Wide)_mm256_shuffle_epi32((__m256i)a, 0xB1); }

inline Wide interleave(Wide a, Wide b) {
  return (Wide)_mm256_blend_epi32((__m256i)a, (__m256i)upper_half(b), 0xAA);
}

inline void store_past_cache(void* to, Word words) {
  const __m256i from = (__m256i)words;
  if (reinterpret_cast<uintptr_t>(to) % sizeof from == 0) {
    _mm256_stream_si256(static_cast<__m256i*>(to), from);
    return;
  }
  __m128i* parts = static_cast<__m128i*>(to);
  _mm_stream_si128(parts, _mm256_castsi256_si128(from));
  _mm_stream_si128(parts + 1, _mm256_extracti128_si256(from, 1));
}

inline void finish_stores() { _mm_sfence(); }

using Float = float __attribute__((vector_size(32)));
constexpr int64_t kRows = 6;
constexpr int64_t kVectors = 2;

inline Float multiply_add(Float a, Float b, Float c, bool) {
  return (Float)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}

inline Float square_root(Float a) { return (Float)_mm256_sqrt_ps((__m256)a); }

inline bool any_differs(Word a, Word b) {
  const __m256i different = _mm256_xor_si256((__m256i)a, (__m256i)b);
  return _mm256_testz_si256(different, different) == 0;
}

inline bool any_is_zero(Word a) {
  return _mm256_movemask_epi8(_mm256_cmpeq_epi32((__m256i)a, _mm256_setzero_si256())) != 0;
}

// Whether the lower 16 bits of some lane are zero.
template <int64_t kCount>
inline bool some_lower_half_is_zero(const Word (&words)[kCount]) {
  Word least = words[0] & 0xFFFF;
  for (Word word : words) least = smaller_of(least, word & 0xFFFF);
  return _mm256_movemask_epi8(_mm256_cmpeq_epi32((__m256i)least, _mm256_setzero_si256())) != 0;
}

#define ONNXBF_CHOOSES_FLOATS
inline Float smaller_of(Float a, Float b) { return (Float)_mm256_min_ps((__m256)a, (__m256)b); }
inline Float larger_of(Float a, Float b) { return (Float)_mm256_max_ps((__m256)a, (__m256)b); }

#define ONNXBF_TURNS_FOURS
inline Float load_fours(const float* from, int64_t stride) {
  const __m256 rows = _mm256_castps128_ps256(_mm_loadu_ps(from));
  return (Float)_mm256_insertf128_ps(rows, _mm_loadu_ps(from + stride), 1);
}

inline void turn_fours(Float (&rows)[4]) {
  const __m256 low = _mm256_unpacklo_ps((__m256)rows[0], (__m256)rows[1]);
  const __m256 high = _mm256_unpackhi_ps((__m256)rows[0], (__m256)rows[1]);
  const __m256 other_low = _mm256_unpacklo_ps((__m256)rows[2], (__m256)rows[3]);
  const __m256 other_high = _mm256_unpackhi_ps((__m256)rows[2], (__m256)rows[3]);
  rows[0] = (Float)_mm256_shuffle_ps(low, other_low, 0x44);
  rows[1] = (Float)_mm256_shuffle_ps(low, other_low, 0xEE);
  rows[2] = (Float)_mm256_shuffle_ps(high, other_high, 0x44);
  rows[3] = (Float)_mm256_shuffle_ps(high, other_high, 0xEE);
}

}  // namespace
}  // namespace onnxbf::avx2

#include "notes_x86-inl.h"

#include "kernels-inl.h"

// Intel's and AMD's own instructions. Each function is compiled for the instruction it needs, the file
// that includes this one for any CPU.
//
// Source: Intel SDM, VCVTNEPS2BF16, VCVTPS2PH and VDPBF16PS.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <string>

#include "bfloat16_instruction.h"
#include "cpu_judges.h"

namespace onnxbf {
namespace {

__attribute__((target("avx512f,avx512vl,avx512bf16"))) void to_bfloat16(const CastSpec&,
                                                                        const float* in,
                                                                        uint16_t* codes,
                                                                        int64_t count) {
  for (int64_t i = 0; i < count; i += 16) {
    const __m256bh converted = _mm512_cvtneps_pbh(_mm512_loadu_ps(in + i));
    __builtin_memcpy(codes + i, &converted, sizeof converted);
  }
}

// Sixteen dot products at a time, each in a lane of its own.
__attribute__((target("avx512f,avx512vl,avx512bf16"))) void dot_bfloat16(
    const uint16_t* a, const uint16_t* b, float* out, int64_t count, int64_t pairs) {
  for (int64_t i = 0; i < count; i += 16) {
    __m512 sums = _mm512_setzero_ps();
    for (int64_t pair = 0; pair < pairs; ++pair) {
      uint16_t left[32], right[32];
      for (int64_t lane = 0; lane < 16; ++lane) {
        const int64_t from = 2 * ((i + lane) * pairs + pair);
        __builtin_memcpy(left + 2 * lane, a + from, 4);
        __builtin_memcpy(right + 2 * lane, b + from, 4);
      }
      __m512bh lefts, rights;
      __builtin_memcpy(&lefts, left, sizeof lefts);
      __builtin_memcpy(&rights, right, sizeof rights);
      sums = _mm512_dpbf16_ps(sums, lefts, rights);
    }
    _mm512_storeu_ps(out + i, sums);
  }
}

template <int kMode>
__attribute__((target("avx,f16c"))) void to_float16(const CastSpec&, const float* in,
                                                    uint16_t* codes, int64_t count) {
  for (int64_t i = 0; i < count; i += 8) {
    const __m128i converted = _mm256_cvtps_ph(_mm256_loadu_ps(in + i), kMode);
    __builtin_memcpy(codes + i, &converted, sizeof converted);
  }
}

Conversion find_conversion(const CastSpec& spec) {
  if (is_ieee(spec, 8, 7)) {
    const bool known = spec.rounding == kNearestEven && spec.flush != 0;
    return known && executes_bfloat16() ? to_bfloat16 : nullptr;
  }
  if (!is_ieee(spec, 5, 10) || spec.flush != 0 || !__builtin_cpu_supports("f16c")) return nullptr;
  switch (spec.rounding) {
    case kNearestEven:
      return to_float16<_MM_FROUND_TO_NEAREST_INT>;
    case kTowardZero:
      return to_float16<_MM_FROUND_TO_ZERO>;
    case kUp:
      return to_float16<_MM_FROUND_TO_POS_INF>;
    case kDown:
      return to_float16<_MM_FROUND_TO_NEG_INF>;
    default:
      return nullptr;
  }
}

Dots find_dots(const std::string& arithmetic) {
  return arithmetic == "avx512_bf16" && executes_bfloat16() ? dot_bfloat16 : nullptr;
}

}  // namespace
}  // namespace onnxbf

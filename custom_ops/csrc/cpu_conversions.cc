// Conversions and dot products by the CPU's own instructions, where it has them. The kernels do not use them (their
// roundings and their treatment of subnormal numbers are fixed): the self-test holds the kernels to
// them. Each function is compiled for the instruction it needs, this file for any CPU.
//
// Source: Intel SDM, VCVTNEPS2BF16, VCVTPS2PH and VDPBF16PS.
#include "c_api.h"

#if defined(__x86_64__) && __has_include(<avx512bf16intrin.h>)
#include <immintrin.h>

namespace {

__attribute__((target("avx512f,avx512vl,avx512bf16"))) void to_bfloat16(const float* in,
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
__attribute__((target("avx,f16c"))) void to_float16(const float* in, uint16_t* codes,
                                                    int64_t count) {
  for (int64_t i = 0; i < count; i += 8) {
    const __m128i converted = _mm256_cvtps_ph(_mm256_loadu_ps(in + i), kMode);
    __builtin_memcpy(codes + i, &converted, sizeof converted);
  }
}

}  // namespace

int32_t onnxbf_cpu_bfloat16(const float* in, uint16_t* codes, int64_t count, int32_t rounding) {
  const bool present = __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vl");
  if (!present || rounding != onnxbf::kNearestEven) return 0;
  to_bfloat16(in, codes, count);
  return 1;
}

int32_t onnxbf_cpu_dot_bfloat16(const uint16_t* a, const uint16_t* b, float* out, int64_t count,
                                int64_t pairs) {
  if (!__builtin_cpu_supports("avx512bf16") || !__builtin_cpu_supports("avx512vl")) return 0;
  dot_bfloat16(a, b, out, count, pairs);
  return 1;
}

int32_t onnxbf_cpu_float16(const float* in, uint16_t* codes, int64_t count, int32_t rounding) {
  if (!__builtin_cpu_supports("f16c")) return 0;
  switch (rounding) {
    case onnxbf::kNearestEven:
      to_float16<_MM_FROUND_TO_NEAREST_INT>(in, codes, count);
      return 1;
    case onnxbf::kTowardZero:
      to_float16<_MM_FROUND_TO_ZERO>(in, codes, count);
      return 1;
    case onnxbf::kUp:
      to_float16<_MM_FROUND_TO_POS_INF>(in, codes, count);
      return 1;
    case onnxbf::kDown:
      to_float16<_MM_FROUND_TO_NEG_INF>(in, codes, count);
      return 1;
    default:
      return 0;
  }
}

#else

int32_t onnxbf_cpu_bfloat16(const float*, uint16_t*, int64_t, int32_t) { return 0; }
int32_t onnxbf_cpu_float16(const float*, uint16_t*, int64_t, int32_t) { return 0; }
int32_t onnxbf_cpu_dot_bfloat16(const uint16_t*, const uint16_t*, float*, int64_t, int64_t) {
  return 0;
}

#endif

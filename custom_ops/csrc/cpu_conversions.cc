// Conversions by the CPU's own instructions, where it has them. The kernels do not use them (their
// roundings and their treatment of subnormal numbers are fixed): the self-test holds the kernels to
// them. Each function is compiled for the instruction it needs, this file for any CPU.
//
// Source: Intel SDM, VCVTNEPS2BF16 and VCVTPS2PH.
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

#endif

// Intel's and AMD's own instructions. Each function is compiled for the instruction it needs, the file
// that includes this one for any CPU.
//
// Source: Intel SDM, VCVTNEPS2BF16, VCVTPS2PH, VDPBF16PS and TDPBF16PS.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "amx.h"
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

#if defined(ONNXBF_AMX_KERNELS)
// Adds at most 16 pairs of products to the sums of sixteen dot products: those in the diagonal of a tile.
ONNXBF_AMX void add_by_tiles(const uint16_t* a, const uint16_t* b, int64_t stride, int64_t pairs,
                             float* sums) {
  uint32_t right[kChunkPairs][kTileRows];
  float tile[kTileRows][kTileRows] = {};
  for (int64_t i = 0; i < kTileRows; ++i) {
    tile[i][i] = sums[i];
    for (int64_t pair = 0; pair < pairs; ++pair) {
      __builtin_memcpy(&right[pair][i], b + i * stride + 2 * pair, sizeof(uint32_t));
    }
  }
  const Tiles tiles(pairs);
  load_tile<0>(tile, kTileBytes);
  load_tile<4>(a, stride * static_cast<int64_t>(sizeof *a));
  load_tile<6>(right, kTileBytes);
  add_tile_products<0, 4, 6>();
  store_tile<0>(tile, kTileBytes);
  for (int64_t i = 0; i < kTileRows; ++i) sums[i] = tile[i][i];
}

void dot_tiles(const uint16_t* a, const uint16_t* b, float* out, int64_t count, int64_t pairs) {
  const int64_t stride = 2 * pairs;
  std::fill_n(out, count, 0.0f);
  for (int64_t i = 0; i < count; i += kTileRows) {
    for (int64_t pair = 0; pair < pairs; pair += kChunkPairs) {
      const int64_t from = i * stride + 2 * pair;
      add_by_tiles(a + from, b + from, stride, std::min(kChunkPairs, pairs - pair), out + i);
    }
  }
}
#endif

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
  if (arithmetic == "avx512_bf16" && executes_bfloat16()) return dot_bfloat16;
#if defined(ONNXBF_AMX_KERNELS)
  if (arithmetic == "amx_bf16" && has_amx()) return dot_tiles;
#endif
  return nullptr;
}

}  // namespace
}  // namespace onnxbf

// Arm's own instructions: BFCVTN and BFDOT where the CPU has FEAT_BF16, FCVTN everywhere. Each function
// is compiled for the instruction it needs, the file that includes this one for any CPU.
//
// Source: Arm Architecture Reference Manual (DDI 0487), BFCVTN, BFDOT, FCVTN and FPCR.
#pragma once

#include <arm_neon.h>
#include <sys/auxv.h>

#include <cstdint>
#include <string>

#include "cpu_judges.h"
#include "float_environment.h"

namespace onnxbf {
namespace {

// Of FPCR.
constexpr uint64_t kFlushBit = 1ull << 24, kExtendedBit = 1ull << 13;
constexpr int kRoundingPlace = 22;

bool has_bfloat16() {
  constexpr unsigned long kBf16 = 1ul << 14;
  return (getauxval(AT_HWCAP2) & kBf16) != 0;
}

// A bit of FPCR without its feature reads as zero. (QEMU says nothing of this one in AT_HWCAP2.)
bool has_extended_bfloat16() {
  const FloatEnvironment environment(kExtendedBit);
  return has_bfloat16() && FloatEnvironment::get() == kExtendedBit;
}

uint64_t control(const CastSpec& spec) {
  constexpr uint64_t kModes[] = {0, 0, 3, 1, 2};  // in the order of enum Rounding
  return kModes[spec.rounding] << kRoundingPlace | (spec.flush != 0 ? kFlushBit : 0);
}

bool has_mode(const CastSpec& spec) {
  return spec.rounding <= kDown && spec.rounding != kNearestAway;
}

__attribute__((target("arch=armv8.2-a+bf16"))) void to_bfloat16(const CastSpec& spec,
                                                                const float* in, uint16_t* codes,
                                                                int64_t count) {
  const FloatEnvironment environment(control(spec));
  for (int64_t i = 0; i < count; i += 4) {
    const bfloat16x4_t converted = vcvt_bf16_f32(vld1q_f32(in + i));
    __builtin_memcpy(codes + i, &converted, sizeof converted);
  }
}

void to_float16(const CastSpec& spec, const float* in, uint16_t* codes, int64_t count) {
  const FloatEnvironment environment(control(spec));
  for (int64_t i = 0; i < count; i += 4) {
    const float16x4_t converted = vcvt_f16_f32(vld1q_f32(in + i));
    __builtin_memcpy(codes + i, &converted, sizeof converted);
  }
}

// Four dot products at a time, each in a lane of its own.
template <uint64_t kControl>
__attribute__((target("arch=armv8.2-a+bf16"))) void dot_bfloat16(const uint16_t* a,
                                                                 const uint16_t* b, float* out,
                                                                 int64_t count, int64_t pairs) {
  const FloatEnvironment environment(kControl);
  for (int64_t i = 0; i < count; i += 4) {
    float32x4_t sums = vdupq_n_f32(0);
    for (int64_t pair = 0; pair < pairs; ++pair) {
      uint16_t left[8], right[8];
      for (int64_t lane = 0; lane < 4; ++lane) {
        const int64_t from = 2 * ((i + lane) * pairs + pair);
        __builtin_memcpy(left + 2 * lane, a + from, 4);
        __builtin_memcpy(right + 2 * lane, b + from, 4);
      }
      bfloat16x8_t lefts, rights;
      __builtin_memcpy(&lefts, left, sizeof lefts);
      __builtin_memcpy(&rights, right, sizeof rights);
      sums = vbfdotq_f32(sums, lefts, rights);
    }
    vst1q_f32(out + i, sums);
  }
}

Conversion find_conversion(const CastSpec& spec) {
  if (!has_mode(spec)) return nullptr;
  if (is_ieee(spec, 8, 7) && has_bfloat16()) return to_bfloat16;
  // Flushing here is of float32's subnormal numbers, not of float16's.
  return is_ieee(spec, 5, 10) && spec.flush == 0 ? to_float16 : nullptr;
}

Dots find_dots(const std::string& arithmetic) {
  if (arithmetic == "arm_bf16" && has_bfloat16()) return dot_bfloat16<0>;
  if (arithmetic == "arm_ebf16" && has_extended_bfloat16()) return dot_bfloat16<kExtendedBit>;
  return nullptr;
}

}  // namespace
}  // namespace onnxbf

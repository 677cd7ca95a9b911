// e^x of many numbers, rounded once, for one instruction set.
//
// In double, within 2^-50 of the exact value, so that rounding to float32 is right unless the double lies
// close to the middle between two float32 numbers. Such numbers, and the few whose result is subnormal,
// are computed anew (exponential.h).
#pragma once

#include "exponential.h"
#include "gemm-inl.h"

namespace onnxbf::ONNXBF_INSTRUCTION_SET {
namespace {

#if defined(ONNXBF_ONE_LANE)
using Double = double;
using Part = float;
inline Wide wide_bits_of(Double number) { return load<Wide>(&number); }
inline Double double_of(Wide bits) { return load<Double>(&bits); }
inline float lane_of(Part part, int64_t) { return part; }
inline uint64_t lane_of(Wide bits, int64_t) { return bits; }
#else
using Double = double __attribute__((vector_size(sizeof(Wide))));
using Part = float __attribute__((vector_size(sizeof(Wide) / 2)));  // as many floats
inline Wide wide_bits_of(Double numbers) { return (Wide)numbers; }
inline Double double_of(Wide bits) { return (Double)bits; }
inline float lane_of(Part part, int64_t i) { return part[i]; }
inline uint64_t lane_of(Wide bits, int64_t i) { return bits[i]; }
#endif

// e^x for |x| up to some hundred; 2^n times a series in r, where x = n log(2) + r.
inline Double rough_exponential(Double x) {
  constexpr double kToWhole = 0x1.8p52;  // adding it leaves no digits behind the point
  constexpr double kSeries[] = {
      1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320,
      1.0 / 5040,       1.0 / 720,       1.0 / 120,      1.0 / 24,      1.0 / 6,      0.5,
      1.0,              1.0};
  const Double shifted = x * 0x1.71547652b82fep+0 + kToWhole;
  const Double whole = shifted - kToWhole;
  const Double rest = (x - whole * 0x1.62e42fefa38p-1) - whole * 0x1.ef35793c7673p-45;
  Double power = Double{} + kSeries[0];
  ONNXBF_UNROLL
  for (int i = 1; i < 14; ++i) power = power * rest + kSeries[i];
  return double_of(wide_bits_of(power) + (wide_bits_of(shifted) << 52));  // n in its lowest bits
}

// Whether a double is, within 2^-46, halfway between two float32 numbers, or as small as these are subnormal.
inline bool is_doubtful(uint64_t bits) {
  constexpr uint64_t kDropped = (uint64_t{1} << 29) - 1, kHalf = uint64_t{1} << 28, kNear = 64;
  constexpr uint64_t kSmallestNormal = uint64_t{1023 - 126} << 52;
  return ((bits - (kHalf - kNear)) & kDropped) <= 2 * kNear || bits < kSmallestNormal;
}

inline void few_exponentials(const float* x, float* out) {
  const Part given = load<Part>(x);
  Part within = given < -105.0f ? Part{} - 105.0f : given;
  within = within > 89.0f ? Part{} + 89.0f : within;
  const Wide bits = wide_bits_of(rough_exponential(convert<Double>(within)));
  store(out, convert<Part>(double_of(bits)));
  for (int64_t i = 0; i < kWideLanes; ++i) {
    const float number = lane_of(given, i);
    if (__builtin_expect(is_doubtful(lane_of(bits, i)), 0)) out[i] = onnxbf::exponential(number);
    if (number != number) out[i] = __builtin_nanf("");
  }
}

void exponentials(const float* x, const float* shift, int64_t shift_step, float* out,
                  int64_t count) {
  for (int64_t i = 0; i < count; i += kWideLanes) {
    const int64_t some = count - i < kWideLanes ? count - i : kWideLanes;
    float below[kWideLanes] = {}, powers[kWideLanes];
    for (int64_t k = 0; k < some; ++k) below[k] = x[i + k] - shift[(i + k) * shift_step];
    few_exponentials(below, powers);
    __builtin_memcpy(out + i, powers, static_cast<size_t>(some) * sizeof(float));
  }
}

}  // namespace
}  // namespace onnxbf::ONNXBF_INSTRUCTION_SET

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

// 1 where a double is, within 2^-46, halfway between two float32 numbers, or as small as these are subnormal.
inline Wide doubts_of(Wide bits) {
  constexpr uint64_t kDropped = (uint64_t{1} << 29) - 1, kHalf = uint64_t{1} << 28, kNear = 64;
  constexpr uint64_t kSmallestNormal = uint64_t{1023 - 126} << 52;
  const Wide beyond_near = ((bits - (kHalf - kNear)) & kDropped) - (2 * kNear + 1);
  return (beyond_near | (bits - kSmallestNormal)) >> 63;  // those that are negative
}

[[gnu::noinline]] void compute_anew(Part x, Wide doubts, float* out) {
  for (int64_t i = 0; i < kWideLanes; ++i) {
    if (lane_of(doubts, i) != 0) out[i] = onnxbf::exponential(lane_of(x, i));
  }
}

inline void few_exponentials(Part x, float* out) {
  Part within = x < -105.0f ? Part{} - 105.0f : x;
  within = within > 89.0f ? Part{} + 89.0f : within;
  const Wide bits = wide_bits_of(rough_exponential(convert<Double>(within)));
  const Part powers = convert<Part>(double_of(bits));
  store(out, x == x ? powers : Part{} + __builtin_nanf(""));
  const Wide doubts = doubts_of(bits);
  if (__builtin_expect(any_differs((Word)doubts, Word{}), 0)) compute_anew(x, doubts, out);
}

void exponentials(const float* x, const float* shift, int64_t shift_step, float* out,
                  int64_t count) {
  const auto body = [&](const float* from, const float* by, float* to) {
    const Part below = shift_step == 0 ? load<Part>(from) - *by : load<Part>(from) - load<Part>(by);
    few_exponentials(below, to);
  };
  int64_t i = 0;
  for (; i + kWideLanes <= count; i += kWideLanes) body(x + i, shift + i * shift_step, out + i);
  if (i == count) return;
  const size_t bytes = static_cast<size_t>(count - i) * sizeof(float);
  float numbers[kWideLanes] = {}, shifts[kWideLanes] = {};
  __builtin_memcpy(numbers, x + i, bytes);
  __builtin_memcpy(shifts, shift + i * shift_step, shift_step == 0 ? sizeof(float) : bytes);
  body(numbers, shifts, numbers);
  __builtin_memcpy(out + i, numbers, bytes);
}

}  // namespace
}  // namespace onnxbf::ONNXBF_INSTRUCTION_SET

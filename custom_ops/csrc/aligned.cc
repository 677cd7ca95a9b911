#include "aligned.h"

#include <algorithm>
#include <cmath>

#include "float_bits.h"

namespace onnxbf {
namespace {

constexpr int32_t kNoExponent = -10000;  // of zero
constexpr int32_t kLeastOfSums = -126;

// In double: the products are exact there, and so is all that follows.
int32_t exponent_of(double number, int32_t least) { return std::max(std::ilogb(number), least); }

float to_float(double number, bool to_odd) {
  if (std::fabs(number) >= 0x1p128) return std::copysign(HUGE_VALF, static_cast<float>(number));
  const float nearest = static_cast<float>(number);
  if (static_cast<double>(nearest) == number) return nearest;
  uint32_t bits = bits_of(nearest);
  if (std::fabs(static_cast<double>(nearest)) > std::fabs(number)) --bits;
  return float_of(to_odd ? bits | 1 : bits);
}

}  // namespace

float add_aligned(const Alignment& alignment, int64_t count, const float* a, int64_t a_stride,
                  const float* b, int64_t b_stride, float sum) {
  const auto product = [&](int64_t k) {
    return static_cast<double>(a[k * a_stride]) * static_cast<double>(b[k * b_stride]);
  };
  double plain = sum;
  int32_t largest = sum != 0 ? exponent_of(sum, kLeastOfSums) : kNoExponent;
  for (int64_t k = 0; k < count; ++k) {
    plain += product(k);
    if (product(k) == 0 || !std::isfinite(product(k))) continue;
    const int32_t exponent = exponent_of(a[k * a_stride], alignment.least_exponent) +
                             exponent_of(b[k * b_stride], alignment.least_exponent);
    largest = std::max(largest, exponent);
  }
  if (!std::isfinite(plain)) return static_cast<float>(plain);
  if (largest == kNoExponent) return 0;
  const int32_t place = largest - alignment.bits;
  double aligned = std::trunc(std::ldexp(static_cast<double>(sum), -place));
  for (int64_t k = 0; k < count; ++k) aligned += std::trunc(std::ldexp(product(k), -place));
  return aligned == 0 ? 0 : to_float(std::ldexp(aligned, place), alignment.to_odd);
}

}  // namespace onnxbf

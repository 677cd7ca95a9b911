#include "exact.h"

#include <cmath>

#include "float_bits.h"

namespace onnxbf {
namespace {

__extension__ typedef unsigned __int128 Wide;

constexpr double kSmallestNormal = 0x1p-126;
constexpr double kRoundsToNormal = 0x1p-126 - 0x1p-151;

// a + b to odd, in 53 bits. Every sum of two products of float32 numbers so keeps what any rounding
// to 24 bits or fewer needs to know of it (Boldo and Melquiond, 2008).
double sum_to_odd(double a, double b) {
  const double sum = a + b;
  if (!std::isfinite(sum)) return sum;
  const double part = sum - a;
  const double error = (a - (sum - part)) + (b - part);
  const uint64_t bits = bits_of(sum);
  if (error == 0 || (bits & 1) != 0) return sum;
  const bool away = std::signbit(error) == std::signbit(sum);
  return double_of(away ? bits + 1 : bits - 1);
}

double multiply_add(float a, float b, float c) {
  return sum_to_odd(static_cast<double>(a) * b, c);
}

float round_to_odd(double number) {
  const float nearest = static_cast<float>(number);
  if (!(std::fabs(number) < 0x1p128) || static_cast<double>(nearest) == number) return nearest;
  uint32_t bits = bits_of(nearest);
  if (std::fabs(static_cast<double>(nearest)) > std::fabs(number)) --bits;
  return float_of(bits | 1);
}

}  // namespace

float multiply_add_to_odd(float a, float b, float c, bool overflows) {
  const double sum = multiply_add(a, b, c);
  // Beyond all float32 numbers: odd, and so large that what is not random goes on from here as from
  // infinity.
  if (std::isfinite(sum) && std::fabs(sum) >= 0x1p128) {
    const float beyond = overflows ? HUGE_VALF : 0x1.fffffep127f;
    return std::copysign(beyond, static_cast<float>(std::copysign(1.0, sum)));
  }
  return round_to_odd(sum);
}

float multiply_add_to_nearest(float a, float b, float c, bool flush) {
  const double sum = multiply_add(a, b, c);
  if (flush && std::fabs(sum) < kRoundsToNormal) return std::signbit(sum) ? -0.0f : 0.0f;
  return static_cast<float>(sum);
}

float two_products_to_nearest(float a, float b, float c, float d) {
  return static_cast<float>(sum_to_odd(static_cast<double>(a) * b, static_cast<double>(c) * d));
}

float add_to_odd(float a, float b) {
  const double sum = sum_to_odd(a, b);
  if (std::fabs(sum) < kSmallestNormal) return std::signbit(sum) ? -0.0f : 0.0f;
  return round_to_odd(sum);
}

void ExactSum::add(float a, float b) {
  const double product = static_cast<double>(a) * b;
  if (!std::isfinite(product)) {
    special_ += product;
    is_special_ = true;
  }
  if (is_special_) return;
  is_negative_zero_ = is_negative_zero_ && product == 0 && std::signbit(product);
  const uint32_t left = bits_of(a), right = bits_of(b);
  const auto exponent = [](uint32_t bits) { return static_cast<int32_t>(bits >> 23 & 0xFF); };
  const auto significand = [&](uint32_t bits) -> uint64_t {
    return (bits & 0x7FFFFF) | (exponent(bits) != 0 ? 0x800000u : 0);
  };
  const auto above = [&](uint32_t bits) { return exponent(bits) != 0 ? exponent(bits) - 1 : 0; };
  const int32_t place = above(left) + above(right);
  const uint64_t digits = significand(left) * significand(right);
  const uint64_t low = (digits & 0xFFFFFFFF) << place % 32;
  const uint64_t high = (digits >> 32) << place % 32;
  const int64_t sign = ((left ^ right) >> 31) != 0 ? -1 : 1;
  int64_t* limb = limbs_ + place / 32;
  limb[0] += sign * static_cast<int64_t>(low & 0xFFFFFFFF);
  limb[1] += sign * static_cast<int64_t>((low >> 32) + (high & 0xFFFFFFFF));
  limb[2] += sign * static_cast<int64_t>(high >> 32);
}

float ExactSum::round() {
  if (is_special_) return static_cast<float>(special_);
  const auto carry = [this] {
    for (int32_t i = 0; i + 1 < kLimbs; ++i) {
      limbs_[i + 1] += limbs_[i] >> 32;
      limbs_[i] &= 0xFFFFFFFF;
    }
  };
  carry();
  const bool negative = limbs_[kLimbs - 1] < 0;
  if (negative) {
    for (int64_t& limb : limbs_) limb = -limb;
    carry();
  }
  int32_t top = kLimbs - 1;
  while (top >= 0 && limbs_[top] == 0) --top;
  if (top < 0) return is_negative_zero_ ? -0.0f : 0.0f;
  // The uppermost 53 bits, the last of them set where anything follows: as rounding to odd does.
  const auto limb = [&](int32_t i) { return i < 0 ? 0 : static_cast<Wide>(limbs_[i]); };
  Wide digits = limb(top) << 64 | limb(top - 1) << 32 | limb(top - 2);
  int32_t exponent = 32 * (top - 2) - 298;
  bool more = false;
  for (int32_t i = 0; i < top - 2; ++i) more = more || limbs_[i] != 0;
  for (; digits >> 53 != 0; digits >>= 1, ++exponent) more = more || (digits & 1) != 0;
  const double sum = std::ldexp(static_cast<double>(static_cast<uint64_t>(digits) | more), exponent);
  return static_cast<float>(negative ? -sum : sum);
}

}  // namespace onnxbf

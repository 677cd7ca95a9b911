#include "exponential.h"

#include <cmath>
#include <cstdint>

#include "float_bits.h"

namespace onnxbf {
namespace {

// A number as a sum of two, the second below the last place of the first.
struct Two {
  double high, low;
};

Two add_exactly(double a, double b) {
  const double sum = a + b, part = sum - a;
  return {sum, (a - (sum - part)) + (b - part)};
}

// Dekker's product: factors in halves of 26 bits.
Two multiply_exactly(double a, double b) {
  const auto upper = [](double number) {
    const double shifted = number * 134217729.0;  // 2^27 + 1
    return shifted - (shifted - number);
  };
  const double product = a * b, a1 = upper(a), b1 = upper(b), a2 = a - a1, b2 = b - b1;
  return {product, ((a1 * b1 - product) + a1 * b2 + a2 * b1) + a2 * b2};
}

Two operator+(double a, Two b) {
  const Two sum = add_exactly(a, b.high);
  return add_exactly(sum.high, sum.low + b.low);
}

Two operator*(Two a, Two b) {
  const Two product = multiply_exactly(a.high, b.high);
  return add_exactly(product.high, product.low + (a.high * b.low + a.low * b.high));
}

Two operator/(Two a, double b) {
  const double first = a.high / b;
  const Two back = multiply_exactly(first, b);
  return add_exactly(first, (((a.high - back.high) - back.low) + a.low) / b);
}

// To odd, so that one more rounding is right (Boldo and Melquiond, 2008).
double to_odd(Two number) {
  uint64_t bits = bits_of(number.high);
  if (number.low == 0 || (bits & 1) != 0) return number.high;
  bits += number.low > 0 ? 1 : -1;  // the number is positive
  return double_of(bits);
}

// log(2): 36 bits, 36 more, and what follows: multiples of the first two by 8-bit numbers are exact.
constexpr double kLog2[] = {0x1.62e42fefa0000p-1, 0x1.cf79abc9e0000p-40, 0x1.d9cc01f97b57ap-79};
constexpr int kTerms = 27;  // of the series of e^r for |r| < 0.35: the rest is below 2^-130

}  // namespace

float exponential(float x) {
  if (x != x) return __builtin_nanf("");
  if (x > 89) return HUGE_VALF;
  if (x < -105) return 0;
  const double whole = std::nearbyint(static_cast<double>(x) / kLog2[0]);
  Two rest = add_exactly(x - whole * kLog2[0], -whole * kLog2[1]);
  rest = -whole * kLog2[2] + rest;
  Two sum{1, 0};
  for (int i = kTerms; i > 0; --i) sum = 1.0 + rest * sum / i;
  return static_cast<float>(std::ldexp(to_odd(sum), static_cast<int>(whole)));
}

}  // namespace onnxbf

// Tiles of bfloat16:rne accumulators.
//
// The products of float32 numbers hardly ever end halfway between two numbers of the format: AddBfloat16
// rounds as if halves went up, and looks again at those that do. Of products of bfloat16 numbers many do, one in
// some hundreds to thousands. They are added so that the CPU rounds them: what is added to
//
//     far = sum + 1.5 * 2^16 * power        power: the sum's own power of two, with its sign
//
// loses what stands below the eighth place of the sum, to nearest even, and far - 1.5 * 2^16 * power is exact.
// The sum was rounded before, to 24 bits. That matters only if it now ends halfway and did not exactly. Be it s,
// of the product p and the accumulator c; both have few bits, p ends at the 15th place below its first, c at the
// 7th. Then, by exponents, either |p| < 2^-8 |s|: p would have to be within 2^-16 of half a place, of the form
// 65535 * 2^n, and no product of two numbers of 8 bits is. Or c is not zero, and so small that p itself ends halfway:
// |c| <= 2^-24 |p|. To find those, sums are scaled until 2^-24 of the largest product is subnormal: then the CPU
// notes that an operand was (clear_notes), at no cost. The tile is then added anew in the other way, as where
// numbers are no bfloat16 ones or too large or too small for all that. An addition takes four operations, as the
// other way does.
#pragma once

#include "gemm-inl.h"

namespace onnxbf::ONNXBF_INSTRUCTION_SET {
namespace {

constexpr int64_t kPart = 192;  // products at a time

// A multiply-add that the CPU rounds to the format when it adds what is far off, as above. It keeps no -0.
struct AddFarOff {
  // `dropped`: mantissa bits that the format lacks.
  explicit AddFarOff(uint32_t dropped)
      : far_off(float_of(all(((kExponentBias + dropped) << kMantissaBits) | kImplicitBit / 2))) {}

  template <int64_t kCount>
  void operator()(const float* a, const Float* right, Float (&sums)[kCount][kVectors]) const {
    const auto of_row = [&](int64_t row) { return a[row]; };
    each_sum(of_row, right, sums, [&](Float left, Float each, Float before) {
      const Float sum = multiply_add(left, each, before, false);
      const Float power = float_of(bits_of(sum) & (kSign | kInfinity));
      const Float far = multiply_add(power, far_off, sum, false);
      return multiply_add(power, -far_off, far, false);
    });
  }

  Float far_off;
};

// Calls body(lanes) for all of `count` numbers.
template <class Body>
inline void for_numbers(const float* numbers, int64_t count, const Body& body) {
  for_lanes(count, [&](int64_t i) { body(load<Word>(numbers + i)); },
            [&](int64_t i, int64_t rest) { body(bits_of(load_some(numbers + i, rest))); });
}

// The largest magnitude of a tile of sums; infinity if one is -0.
inline uint32_t largest_sum(const float* sums) {
  Word largest{};
  bool is_right = true;
  for_numbers(sums, kRows * kColumns, [&](Word word) {
    largest = larger_of(largest, word & ~kSign);
    is_right = is_right && !any_is_zero(word ^ kSign);
  });
  return is_right ? largest_lane(largest) : kInfinity;
}

#if defined(ONNXBF_NOTES_SUBNORMALS)
// The largest of factors lie between these powers of two, or below. So sums stay below 2^127.
constexpr int32_t kLeastPower = -52, kLargestPower = 40;
constexpr uint32_t kLargestSum = uint32_t{kExponentBias + 100} << kMantissaBits;
constexpr int32_t kScaledPowers = -104;  // those of both, after scaling: largest products are below 2^-102

inline Float power_of_two(int32_t power) {
  return float_of(all(static_cast<uint32_t>(power + kExponentBias) << kMantissaBits));
}

// The power of two of the largest of bfloat16 numbers; false if they are no such ones, or too large.
inline bool largest_power(const float* numbers, int64_t count, int32_t& power) {
  if (count >= kLanes && any_differs(load<Word>(numbers) & 0xFFFF, Word{})) return false;
  Word bits{}, largest{};
  for_numbers(numbers, count, [&](Word word) {
    bits = bits | word;
    largest = larger_of(largest, word & ~kSign);
  });
  if (any_differs(bits & 0xFFFF, Word{})) return false;
  power = static_cast<int32_t>(largest_lane(largest) >> kMantissaBits) - kExponentBias;
  if (power < kLeastPower) power = kLeastPower;
  return power <= kLargestPower;
}

// Multiplies by a power of two, which may be too small a number by itself.
inline void scale(const float* numbers, int64_t count, int32_t power, float* to) {
  const Float first = power_of_two(power / 2), second = power_of_two(power - power / 2);
  for_lanes(
      count, [&](int64_t i) { store(to + i, load<Float>(numbers + i) * first * second); },
      [&](int64_t i, int64_t rest) {
        store_some(to + i, load_some(numbers + i, rest) * first * second, rest);
      });
}

// Adds the products of bfloat16 numbers; false: it could not.
inline bool add_bfloat16_products(int64_t count, const float* a, const float* b, float* sums) {
  constexpr int64_t kSums = kRows * kColumns;
  alignas(64) float left[kPart * kRows], results[kSums];
  int32_t power_a, power_b;
  if (!largest_power(a, count * kRows, power_a)) return false;
  if (!largest_power(b, count * kColumns, power_b)) return false;
  if (largest_sum(sums) > kLargestSum) return false;
  const int32_t power = kScaledPowers - power_a - power_b;  // not above 0
  clear_notes();
  scale(a, count * kRows, power, left);
  scale(sums, kSums, power, results);
  tile_by_halves(AddFarOff(16), count, left, b, results);
  scale(results, kSums, -power, results);
  if (left_normal_numbers(results)) return false;
  __builtin_memcpy(sums, results, sizeof results);
  return true;
}
#else
inline bool add_bfloat16_products(int64_t, const float*, const float*, float*) { return false; }
#endif

void tile_bfloat16(const Plan&, bool flush, int64_t count, const float* a, const float* b,
                   float* sums) {
  for (; count > 0; count -= kPart, a += kPart * kRows, b += kPart * kColumns) {
    const int64_t part = count < kPart ? count : kPart;
    if (!flush && add_bfloat16_products(part, a, b, sums)) continue;
    tile_by_halves(AddBfloat16{}, part, a, b, sums);
  }
}

}  // namespace
}  // namespace onnxbf::ONNXBF_INSTRUCTION_SET

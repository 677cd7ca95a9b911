// Tiles of narrow accumulators, to nearest even.
//
// As those of bfloat16 (bfloat16-inl.h): AddNearest looks again at sums that end halfway, of which there are many
// where products have few bits, and there the CPU can round. Let an accumulator have q <= 11 bits, and products
// no more, nor more than 23 - q. A sum s = p + c that ends halfway once it was rounded to 24 bits did so before:
// else one of both would reach below 2^-24 |s|. If the product does, |p| < 2^-q |s| / 2, too little to come from c to
// the middle of two numbers. If c does, |c| < 2^(q - 23) |s|, too little to come there from p, which is such a number
// itself. That needs numbers that are neither subnormal in the format nor beyond it: products that are multiples
// of its smallest number, and are so small that no sum of a part grows too large.
#pragma once

#include "bfloat16-inl.h"

namespace onnxbf::ONNXBF_INSTRUCTION_SET {
namespace {

#if !defined(ONNXBF_ONE_LANE)
// What there is to know of factors.
struct FactorBits {
  uint32_t largest;  // magnitude
  int32_t bits;      // of significands: the most that one has
  int32_t last;      // the power of two of which all are multiples

  static FactorBits of(const float* numbers, int64_t count) {
    Word any{}, largest{}, least = all(kInfinity);
    for_numbers(numbers, count, [&](Word word) {
      const Word magnitude = word & ~kSign;
      any = any | word;
      largest = larger_of(largest, magnitude);
      least = smaller_of(least, greater(all(1), magnitude) ? all(kInfinity) : magnitude);
    });
    int32_t bits = 1;
    for (int32_t i = kMantissaBits; i > 0 && bits == 1; --i) {
      if (any_differs(any & ((1u << (kMantissaBits - i + 1)) - 1), Word{})) bits = i + 1;
    }
    const uint32_t smallest = (kInfinity - largest_lane(all(kInfinity) - least)) >> kMantissaBits;
    return {largest_lane(largest), bits, static_cast<int32_t>(smallest) - kExponentBias - bits + 1};
  }
};

inline float number_of(uint32_t bits) { return lane(float_of(all(bits)), 0); }

// Adds products of few bits; false: they are others.
inline bool add_few_bits(const Plan& plan, int64_t count, const float* a, const float* b,
                         float* sums) {
  constexpr uint32_t kLeastDropped = 13, kMostDropped = 16;  // 11 and 8 bits remain
  constexpr uint32_t kFewest = 0xFFFF;  // bits below the first ones: of float32 numbers, some are set
  if (plan.dropped < kLeastDropped || plan.dropped > kMostDropped) return false;
  if (plan.smallest == 0 || plan.flush_below != 0) return false;
  if (count * kRows < kLanes || any_differs(load<Word>(a) & kFewest, Word{})) return false;
  if (any_differs(load<Word>(b) & kFewest, Word{})) return false;
  const FactorBits left = FactorBits::of(a, count * kRows);
  const FactorBits right = FactorBits::of(b, count * kColumns);
  const int32_t bits = left.bits + right.bits, places = 24 - static_cast<int32_t>(plan.dropped);
  if (bits > places || bits > 23 - places) return false;
  const int32_t smallest = static_cast<int32_t>(plan.smallest >> kMantissaBits) - kExponentBias;
  if (left.last + right.last < smallest) return false;
  // Of at most 192 roundings to 8 bits, each of which adds 1/256, sums grow by less than 4.
  const float product = number_of(left.largest) * number_of(right.largest);
  const float sum = number_of(largest_sum(sums)) + static_cast<float>(count) * product;
  if (!(4 * sum <= number_of(plan.max))) return false;
  tile_by_halves(AddFarOff(plan.dropped), count, a, b, sums);
  return true;
}
#else
inline bool add_few_bits(const Plan&, int64_t, const float*, const float*, float*) { return false; }
#endif

template <class Rounder>
void tile_nearest(const Plan& plan, bool flush, int64_t count, const float* a, const float* b,
                  float* sums) {
  for (; count > 0; count -= kPart, a += kPart * kRows, b += kPart * kColumns) {
    const int64_t part = count < kPart ? count : kPart;
    if (!flush && add_few_bits(plan, part, a, b, sums)) continue;
    tile_by_halves(AddNearest<Rounder>(plan), part, a, b, sums);
  }
}

}  // namespace
}  // namespace onnxbf::ONNXBF_INSTRUCTION_SET

// Tiles of profiles that take their products in another order than one after the other: in pairs, in a
// tree, or with what was lost.
#pragma once

#include "gemm-inl.h"

namespace onnxbf::ONNXBF_INSTRUCTION_SET {
namespace {

// a + b to odd, as onnxbf::add_to_odd.
inline Float add_to_odd(Float a, Float b) {
#if defined(ONNXBF_ROUNDS_TO_ODD)
  const Word bits = bits_of(multiply_add_to_odd(spread(1), a, b));
  const Word sign = bits & kSign, odd = bits ^ sign;
  // The largest number may stand for one beyond it.
  if (__builtin_expect(any_differs(smaller_of(odd, all(kInfinity - 2)), odd), 0)) {
    return each_lane([&](int64_t i) { return onnxbf::add_to_odd(lane(a, i), lane(b, i)); });
  }
#else
  const Float sum = a + b;
  const Float part = sum - a;
  const Word error = bits_of((a - (sum - part)) + (b - part));
  const Word bits = bits_of(sum), sign = bits & kSign, magnitude = bits ^ sign;
  if (__builtin_expect(any_differs(smaller_of(magnitude, all(kInfinity - 1)), magnitude), 0)) {
    return each_lane([&](int64_t i) { return onnxbf::add_to_odd(lane(a, i), lane(b, i)); });
  }
  const Word moves = greater(error & ~kSign, Word{}) ? ~magnitude & 1 : Word{};
  const Word smaller = (error ^ bits) >> 31;  // 1: the magnitude of the exact sum is
  const Word odd = magnitude + moves - ((moves & smaller) << 1);
#endif
  return float_of((greater(all(kImplicitBit), odd) ? Word{} : odd) | sign);
}

inline Float flush_product(Float product) {
  const Word bits = bits_of(product), sign = bits & kSign;
  return float_of((greater(all(kImplicitBit), bits ^ sign) ? Word{} : bits ^ sign) | sign);
}

// Products of bfloat16 numbers are exact in float32 unless they are flushed or infinite.
void tile_pair(const Plan&, bool, int64_t count, const float* a, const float* b, float* sums) {
  for (int64_t k = 0; k < count; k += 2, a += 2 * kRows, b += 2 * kColumns) {
    for_sums(sums, [&](int64_t row, int64_t column, Float sum) {
      const Float first = spread(a[row]) * load<Float>(b + column);
      const Float second = spread(a[kRows + row]) * load<Float>(b + kColumns + column);
      return add_to_odd(sum, add_to_odd(flush_product(first), flush_product(second)));
    });
  }
}

// Where both products are exact in float32, a multiply-add rounds their sum once.
void tile_fused_pair(const Plan&, bool, int64_t count, const float* a, const float* b,
                     float* sums) {
  const Word exact_from = all(0x08000000), exact_to = all(kInfinity - 1);
  for (int64_t k = 0; k < count; k += 2, a += 2 * kRows, b += 2 * kColumns) {
    for_sums(sums, [&](int64_t row, int64_t column, Float sum) {
      const Float a0 = spread(a[row]), b0 = load<Float>(b + column);
      const Float a1 = spread(a[kRows + row]), b1 = load<Float>(b + kColumns + column);
      const Float product = a0 * b0;
      const Word factor = smaller_of(bits_of(a0) & ~kSign, bits_of(b0) & ~kSign);
      const Word size = greater(all(1), factor) ? exact_from : bits_of(product) & ~kSign;
      if (any_differs(larger_of(smaller_of(size, exact_to), exact_from), size)) {
        return sum + each_lane([&](int64_t i) {
                 return two_products_to_nearest(lane(a0, i), lane(b0, i), lane(a1, i), lane(b1, i));
               });
      }
      return sum + multiply_add(a1, b1, product, false);
    });
  }
}

// Sums of 1, 2, 4 ... products wait for their like, as the digits of `k` say.
void tile_pairwise(const Plan&, bool, int64_t count, const float* a, const float* b, float* sums) {
  constexpr int kLevels = 48;
  for_sums(sums, [&](int64_t row, int64_t column, Float) {
    Float waiting[kLevels] = {};
    for (int64_t k = 0; k < count; ++k) {
      Float sum = spread(a[k * kRows + row]) * load<Float>(b + k * kColumns + column);
      int level = 0;
      for (; (k >> level & 1) != 0; ++level) sum = waiting[level] + sum;
      waiting[level] = sum;
    }
    int level = 0;
    while ((count >> level & 1) == 0) ++level;
    Float sum = waiting[level];
    for (++level; count >> level != 0; ++level) {
      if ((count >> level & 1) != 0) sum = waiting[level] + sum;
    }
    return sum;
  });
}

void tile_kahan(const Plan&, bool, int64_t count, const float* a, const float* b, float* sums) {
  for_sums(sums, [&](int64_t row, int64_t column, Float sum) {
    Float lost{};
    for (int64_t k = 0; k < count; ++k) {
      const Float product = spread(a[k * kRows + row]) * load<Float>(b + k * kColumns + column);
      const Float wanted = product - lost;
      const Float larger = sum + wanted;
      lost = (larger - sum) - wanted;
      sum = larger;
    }
    return sum;
  });
}

}  // namespace
}  // namespace onnxbf::ONNXBF_INSTRUCTION_SET

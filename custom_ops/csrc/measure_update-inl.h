// What an update did to weights and to their rounded copies: counted, and multiplied and summed.
//
// The order of sums is that of measure-inl.h.
#pragma once

#include "measure-inl.h"

namespace onnxbf::ONNXBF_INSTRUCTION_SET {
namespace {

// Where `one` and `other` are the same number, as long as neither is NaN.
inline auto same_number(Word one, Word other) {
  const Word either = (one | other) & ~kSign;  // zero where both are
  const Word difference = greater(either, Word{}) ? one ^ other : Word{};
  return difference == Word{};
}

inline double total(double (&sums)[kSums]) {
  for (int64_t half = kSums / 2; half > 0; half /= 2) {
    for (int64_t i = 0; i < half; ++i) sums[i] += sums[i + half];
  }
  return sums[0];
}

// Sums in float64: updates are small, and weights far fewer than the numbers that are rounded.
struct Descent {
  void add(const float* update, const float* before, const float* after) {
    for (int64_t sum = 0; sum < kSums; ++sum) {
      const double wanted = update[sum], taken = static_cast<double>(before[sum]) - after[sum];
      descent[sum] += taken * wanted;
      intended[sum] += wanted * wanted;
    }
  }

  // `size` elements, those left out of which one number is not finite.
  void add_finite(const float* update, const float* before, const float* after, int64_t size) {
    alignas(64) float wanted[kSums] = {}, from[kSums] = {}, to[kSums] = {};
    const Word infinity = all(kInfinity);
    for_words({update, before, after}, size, [&](int64_t i, const auto& read) {
      const auto finite = greater(infinity, read(0) & ~kSign) &
                          greater(infinity, read(1) & ~kSign) & greater(infinity, read(2) & ~kSign);
      store(wanted + i, finite ? read(0) : Word{});
      store(from + i, finite ? read(1) : Word{});
      store(to + i, finite ? read(2) : Word{});
    });
    add(wanted, from, to);
  }

  void finish(UpdateTile* tile) {
    tile->descent = total(descent);
    tile->intended = total(intended);
  }

  double descent[kSums] = {}, intended[kSums] = {};
};

inline void measure_descent(const float* update, const float* before, const float* after,
                            int64_t count, UpdateTile* tile) {
  const int64_t whole = count / kSums * kSums;
  Descent all_finite, finite;
  for (int64_t i = 0; i < whole; i += kSums) all_finite.add(update + i, before + i, after + i);
  all_finite.add_finite(update + whole, before + whole, after + whole, count - whole);
  all_finite.finish(tile);
  if (tile->descent - tile->descent == 0 && tile->intended - tile->intended == 0) return;
  for (int64_t i = 0; i < count; i += kSums) {  // what is not finite shows in the sums
    finite.add_finite(update + i, before + i, after + i, count - i < kSums ? count - i : kSums);
  }
  finite.finish(tile);
}

void measure_update(const float* update, const float* before, const float* after,
                    const float* copy_before, const float* copy_after, int64_t count,
                    UpdateTile* tile) {
  const Word one = all(1);
  Word updated{}, swallowed{}, unseen{};
  for_words({update, before, after, copy_before, copy_after}, count,
            [&](int64_t i, const auto& read) {
    prefetch(update + i);
    const auto some = greater(read(0) & ~kSign, Word{});
    updated += some ? one : Word{};
    swallowed += some & same_number(read(1), read(2)) ? one : Word{};
    unseen += some & same_number(read(3), read(4)) ? one : Word{};
  });
  *tile = {total(updated), total(swallowed), total(unseen), 0, 0};
  measure_descent(update, before, after, count, tile);
}

}  // namespace
}  // namespace onnxbf::ONNXBF_INSTRUCTION_SET

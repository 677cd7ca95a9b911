// What became of numbers that were rounded, or updated: counted, and squared and summed.
//
// Counting is exact. Sums are not, so their order is fixed: element i of a tile belongs to sum
// i % 32, the sums of a tile are added up in halves, and whoever calls adds up tiles in order. This
// order, and no fused multiply-add, gives the same bits on every instruction set. A tile is summed
// in float32, scaled so that squares neither overflow nor vanish, and that is what it costs: in
// float64 it would take twice the time of rounding.
#pragma once

#include "lanes-inl.h"

namespace onnxbf::ONNXBF_INSTRUCTION_SET {
namespace {

constexpr int64_t kSums = 32;
constexpr int64_t kParts = kSums / kLanes;  // vectors of sums

inline double total(const Float (&parts)[kParts]) {
  float sums[kSums];
  __builtin_memcpy(sums, parts, sizeof sums);
  for (int64_t half = kSums / 2; half > 0; half /= 2) {
    for (int64_t i = 0; i < half; ++i) sums[i] += sums[i + half];
  }
  return sums[0];
}

inline uint32_t total(Word counts) {
  uint32_t lanes[kLanes];
  store(lanes, counts);
  uint32_t sum = 0;
  for (uint32_t lane : lanes) sum += lane;
  return sum;
}

// Calls body(i, read) for words of tensors: read(t) gives that of tensor t at element i. The last
// one is filled up with zeros.
template <int64_t kTensors, class Body>
inline void for_words(const float* const (&tensors)[kTensors], int64_t count, const Body& body) {
  const auto tail = [&](int64_t i, int64_t rest) {
    float padded[kTensors][kLanes] = {};
    for (int64_t t = 0; t < kTensors; ++t) {
      __builtin_memcpy(padded[t], tensors[t] + i, static_cast<size_t>(rest) * sizeof(float));
    }
    body(i, [&](int64_t t) { return load<Word>(padded[t]); });
  };
  for_lanes(count, [&](int64_t i) {
    body(i, [&](int64_t t) { return load<Word>(tensors[t] + i); });
  }, tail);
}

// The smallest number that a format has beside zero.
inline uint32_t smallest_number(const Plan& plan) {
  uint32_t smallest = 1u << plan.dropped;  // of formats with the exponents of float32
  if (smallest < plan.smallest) smallest = plan.smallest;
  return smallest < plan.flush_below ? plan.flush_below : smallest;
}

struct Extremes {
  uint32_t largest;  // magnitude
  bool some_vanish;  // some that are not zero may become zero: they lie below the smallest number
};

// `copy`: where to put the numbers, too; nullptr: nowhere.
inline Extremes extremes(const Plan& plan, const float* in, int64_t count, float* copy) {
  constexpr uint32_t kToEnd = kSign - 1;  // moves zero behind all others, as signed numbers
  Word highest{}, lowest = all(kToEnd);
  for_words({in}, count, [&](int64_t i, const auto& read) {
    const Word bits = read(0), magnitude = bits & ~kSign;
    prefetch(in + i);
    if (copy != nullptr) store(copy + i, bits);
    highest = larger_of(highest, magnitude);
    lowest = smaller_of(lowest, magnitude + kToEnd);
  });
  const auto tiny = greater(all(smallest_number(plan) + kToEnd), lowest);
  return {largest_lane(highest), any_differs(tiny ? all(1) : Word{}, Word{})};
}

// The lanes of numbers other than zero that became zero. `from`, `to`: magnitudes.
inline auto vanished(Word from, Word to) { return greater(from, Word{}) & greater(all(1), to); }

inline uint32_t count_vanished(const float* in, const float* out, int64_t count) {
  Word underflow{};
  for_words({in, out}, count, [&](int64_t, const auto& read) {
    underflow += vanished(read(0) & ~kSign, read(1) & ~kSign) ? all(1) : Word{};
  });
  return total(underflow);
}

template <bool kScaled>
inline void add_squares(const float* in, const float* out, int64_t count, float scale,
                        RoundingTile* tile) {
  Float signal[kParts] = {}, noise[kParts] = {};
  for (int64_t i = 0; i < count; i += kSums) {
    ONNXBF_UNROLL
    for (int64_t part = 0; part < kParts; ++part) {
      Float from = load<Float>(in + i + part * kLanes);
      Float error = from - load<Float>(out + i + part * kLanes);
      if constexpr (kScaled) {
        from *= scale;
        error *= scale;
      }
      signal[part] += from * from;
      noise[part] += error * error;
    }
  }
  tile->signal = total(signal);
  tile->noise = total(noise);
}

// The exponent of a power of two that numbers are divided by before they are squared: a multiple of
// 32, most often 0. What rounding added may be as large as the smallest number of the format.
inline int32_t scale_exponent(const Plan& plan, uint32_t largest) {
  const uint32_t smallest = smallest_number(plan);
  const uint32_t magnitude = largest < smallest ? smallest : largest;
  const int32_t exponent = static_cast<int32_t>(magnitude >> kMantissaBits) - kExponentBias;
  const int32_t nearest = ((exponent + 16) >> 5) * 32;
  return nearest < -96 ? -96 : nearest > 96 ? 96 : nearest;
}

// Sums of squares of `count` numbers, a multiple of 32, and of what rounding added to them.
// `largest`: their largest magnitude.
inline void add_squares(const Plan& plan, const float* in, const float* out, int64_t count,
                        uint32_t largest, RoundingTile* tile) {
  const int32_t exponent = scale_exponent(plan, largest);
  if (exponent == 0) {
    add_squares<false>(in, out, count, 1, tile);
    return;
  }
  const uint32_t scale = static_cast<uint32_t>(kExponentBias - exponent) << kMantissaBits;
  const uint64_t back = static_cast<uint64_t>(1023 + 2 * exponent) << 52;  // a double
  add_squares<true>(in, out, count, load<float>(&scale), tile);
  tile->signal *= load<double>(&back);
  tile->noise *= load<double>(&back);
}

// Where numbers may not be finite, before or after.
inline void measure_specials(const Plan& plan, const float* in, const float* out, int64_t count,
                             RoundingTile* tile) {
  const Word one = all(1), infinity = all(kInfinity), last = all(kInfinity - 1);
  Word overflow{}, saturated{}, underflow{}, nan{}, highest{};
  alignas(64) float before[kTile], after[kTile];  // zero where either is not finite
  const int64_t filled = (count + kSums - 1) / kSums * kSums;
  for (int64_t i = count; i < filled; ++i) before[i] = after[i] = 0;
  for_words({in, out}, count, [&](int64_t i, const auto& read) {
    const Word x = read(0), q = read(1);
    const Word from = x & ~kSign, to = q & ~kSign;
    const auto finite_from = greater(infinity, from), finite_to = greater(infinity, to);
    overflow += finite_from & greater(to, last) ? one : Word{};
    saturated += finite_to & greater(from, all(plan.max)) ? one : Word{};
    underflow += vanished(from, to) ? one : Word{};
    nan += greater(to, infinity) ? one : Word{};
    const auto both = finite_from & finite_to;
    store(before + i, both ? x : Word{});
    store(after + i, both ? q : Word{});
    highest = larger_of(highest, both ? from : Word{});
  });
  add_squares(plan, before, after, filled, largest_lane(highest), tile);
  tile->overflow = total(overflow);
  tile->saturated = total(saturated);
  tile->underflow = total(underflow);
  tile->nan = total(nan);
}

void measure_rounding(RoundFunction round, const Plan& plan, const RandomKey& key, const float* in,
                      float* out, int64_t begin, int64_t end, RoundingTile* tile) {
  alignas(64) float copy[kTile];
  const int64_t count = end - begin;
  const Extremes found = extremes(plan, in, count, in == out ? copy : nullptr);
  if (in == out) in = copy;
  round(plan, key, in, out, begin, end, false);
  *tile = {};
  if (found.largest > plan.max || count % kSums != 0) {
    measure_specials(plan, in, out, count, tile);
    return;
  }
  add_squares(plan, in, out, count, found.largest, tile);
  if (found.some_vanish) tile->underflow = count_vanished(in, out, count);
}

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

// In float64: updates are small, and weights far fewer than the numbers that are rounded.
inline void measure_descent(const float* update, const float* before, const float* after,
                            int64_t count, UpdateTile* tile) {
  const Word infinity = all(kInfinity);
  double descent[kSums] = {}, intended[kSums] = {};
  alignas(64) float wanted[kSums], from[kSums], to[kSums];  // zero where one is not finite
  for (int64_t i = 0; i < count; i += kSums) {
    const int64_t size = count - i < kSums ? count - i : kSums;
    for (int64_t sum = size; sum < kSums; ++sum) wanted[sum] = from[sum] = to[sum] = 0;
    for_words({update + i, before + i, after + i}, size, [&](int64_t at, const auto& read) {
      const auto finite = greater(infinity, read(0) & ~kSign) &
                          greater(infinity, read(1) & ~kSign) & greater(infinity, read(2) & ~kSign);
      store(wanted + at, finite ? read(0) : Word{});
      store(from + at, finite ? read(1) : Word{});
      store(to + at, finite ? read(2) : Word{});
    });
    for (int64_t sum = 0; sum < kSums; ++sum) {
      const double taken = static_cast<double>(from[sum]) - to[sum];
      descent[sum] += taken * wanted[sum];
      intended[sum] += static_cast<double>(wanted[sum]) * wanted[sum];
    }
  }
  tile->descent = total(descent);
  tile->intended = total(intended);
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

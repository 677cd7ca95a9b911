// What became of numbers that were rounded, or updated: counted, and summed in float64.
//
// Counting is exact. Sums are not, so their order is fixed: element i of a tile belongs to sum
// i % 16, the sums of a tile are added up in halves, and whoever calls adds up tiles in order. This
// order, and no fused multiply-add, gives the same bits on every instruction set.
#pragma once

#include "lanes-inl.h"

namespace onnxbf::ONNXBF_INSTRUCTION_SET {
namespace {

constexpr int64_t kSums = 16;
constexpr int64_t kParts = kSums / kLanes;  // words that 16 elements fill
constexpr int64_t kDoubleLanes = sizeof(Doubles) / sizeof(double);
constexpr int64_t kHalves = kLanes / kDoubleLanes;

// Sums of 16 elements at a time, each lane apart.
struct Sums {
  Doubles lanes[kParts * kHalves] = {};

  void add(int64_t place, Doubles terms) { lanes[place] += terms; }

  double total() const {
    double sums[kSums];
    __builtin_memcpy(sums, lanes, sizeof sums);
    for (int64_t half = kSums / 2; half > 0; half /= 2) {
      for (int64_t i = 0; i < half; ++i) sums[i] += sums[i + half];
    }
    return sums[0];
  }
};

inline uint32_t total(Word counts) {
  uint32_t lanes[kLanes];
  store(lanes, counts);
  uint32_t sum = 0;
  for (uint32_t lane : lanes) sum += lane;
  return sum;
}

// Calls body(read) for every 16 elements of tensors: read(t, part) gives a word of tensor t. The last
// ones are filled up with zeros.
template <int64_t kTensors, class Body>
inline void for_sums(const float* const (&tensors)[kTensors], int64_t count, const Body& body) {
  int64_t i = 0;
  for (; i + kSums <= count; i += kSums) {
    body([&](int64_t t, int64_t part) { return load<Word>(tensors[t] + i + part * kLanes); });
  }
  if (i == count) return;
  float padded[kTensors][kSums] = {};
  for (int64_t t = 0; t < kTensors; ++t) {
    __builtin_memcpy(padded[t], tensors[t] + i, static_cast<size_t>(count - i) * sizeof(float));
  }
  body([&](int64_t t, int64_t part) { return load<Word>(padded[t] + part * kLanes); });
}

void measure_rounding(const Plan& plan, const float* in, const float* out, int64_t count,
                      RoundingTile* tile) {
  const Word one = all(1), infinity = all(kInfinity), last = all(kInfinity - 1);
  Word overflow{}, saturated{}, underflow{}, nan{};
  Sums signal, noise;
  const auto add = [&](int64_t place, Doubles from, Doubles to) {
    const Doubles error = from - to;
    signal.add(place, from * from);
    noise.add(place, error * error);
  };
  for_sums({in, out}, count, [&](const auto& read) {
    ONNXBF_UNROLL
    for (int64_t part = 0; part < kParts; ++part) {
      const Word x = read(0, part), q = read(1, part);
      const Word from = x & ~kSign, to = q & ~kSign;
      const auto finite_from = greater(infinity, from), finite_to = greater(infinity, to);
      overflow += finite_from & greater(to, last) ? one : Word{};
      saturated += finite_to & greater(from, all(plan.max)) ? one : Word{};
      underflow += greater(from, Word{}) & greater(one, to) ? one : Word{};
      nan += greater(to, infinity) ? one : Word{};
      const auto both = finite_from & finite_to;
      const Word x_or_zero = both ? x : Word{}, q_or_zero = both ? q : Word{};
      add(part * kHalves, widen_low(x_or_zero), widen_low(q_or_zero));
      if constexpr (kHalves == 2) {
        add(part * kHalves + 1, widen_high(x_or_zero), widen_high(q_or_zero));
      }
    }
  });
  *tile = {signal.total(), noise.total(), total(overflow), total(saturated), total(underflow),
           total(nan)};
}

// Where `one` and `other` are the same number, as long as neither is NaN.
inline auto same_number(Word one, Word other) {
  const Word either = (one | other) & ~kSign;  // zero where both are
  const Word difference = greater(either, Word{}) ? one ^ other : Word{};
  return difference == Word{};
}

void measure_update(const float* update, const float* before, const float* after,
                    const float* copy_before, const float* copy_after, int64_t count,
                    UpdateTile* tile) {
  const Word one = all(1);
  Word updated{}, swallowed{}, unseen{};
  for_sums({update, before, after, copy_before, copy_after}, count, [&](const auto& read) {
    ONNXBF_UNROLL
    for (int64_t part = 0; part < kParts; ++part) {
      const auto some = greater(read(0, part) & ~kSign, Word{});
      updated += some ? one : Word{};
      swallowed += some & same_number(read(1, part), read(2, part)) ? one : Word{};
      unseen += some & same_number(read(3, part), read(4, part)) ? one : Word{};
    }
  });
  *tile = {total(updated), total(swallowed), total(unseen)};
}

}  // namespace
}  // namespace onnxbf::ONNXBF_INSTRUCTION_SET

// What became of numbers that were rounded, or updated: counted, and squared and summed.
//
// Counting is exact. Sums are not, so their order is fixed: element i of a tile belongs to sum
// i % 32, the sums of a tile are added up in halves, and whoever calls adds up tiles in order. This
// order, and no fused multiply-add, gives the same bits on every instruction set. A tile is summed
// in float32, scaled so that squares neither overflow nor vanish, and that is what it costs: in
// float64 it would take twice the time of rounding. Where a tile holds nothing but zeros and numbers
// within the format's range, a simpler rounder will do, which makes up for the pass that finds out.
#pragma once

#include "round_range-inl.h"

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

constexpr uint32_t kToEnd = kSign - 1;  // moves zero behind all others, as signed numbers

struct Extremes {
  uint32_t largest;  // magnitude
  bool some_tiny;    // some that are not zero lie below the smallest number, and may become zero
};

inline Extremes extremes(const Plan& plan, const float* in, int64_t count) {
  Word highest{}, lowest = all(kToEnd);
  for_words({in}, count, [&](int64_t, const auto& read) {
    const Word magnitude = read(0) & ~kSign;
    highest = larger_of(highest, magnitude);
    lowest = smaller_of(lowest, magnitude + kToEnd);
  });
  const auto tiny = greater(all(smallest_number(plan) + kToEnd), lowest);
  return {largest_lane(highest), any_differs(tiny ? all(1) : Word{}, Word{})};
}

// The lanes of numbers other than zero that became zero. `from`, `to`: magnitudes.
inline auto vanished(Word from, Word to) { return greater(from, Word{}) & greater(all(1), to); }

// The exponent of a power of two that numbers are divided by before they are squared: a multiple of
// 32, most often 0. What rounding added may be as large as the smallest number of the format.
inline int32_t scale_exponent(const Plan& plan, uint32_t largest) {
  const uint32_t smallest = smallest_number(plan);
  const uint32_t magnitude = largest < smallest ? smallest : largest;
  const int32_t exponent = static_cast<int32_t>(magnitude >> kMantissaBits) - kExponentBias;
  const int32_t nearest = ((exponent + 16) >> 5) * 32;
  return nearest < -96 ? -96 : nearest > 96 ? 96 : nearest;
}

// What divides numbers, as a factor; and their squares back, as a double.
inline float factor_of(int32_t exponent) {
  const uint32_t bits = static_cast<uint32_t>(kExponentBias - exponent) << kMantissaBits;
  return load<float>(&bits);
}

inline void set_squares(double signal, double noise, int32_t exponent, RoundingTile* tile) {
  const uint64_t back = static_cast<uint64_t>(1023 + 2 * exponent) << 52;
  tile->signal = signal * load<double>(&back);
  tile->noise = noise * load<double>(&back);
}

// Sums of squares of numbers and of what rounding added to them, while they are read.
struct Squares {
  template <bool kScaled>
  void add(int64_t part, Float from, Float to, float scale) {
    Float error = from - to;
    if constexpr (kScaled) {
      from *= scale;
      error *= scale;
    }
    signal[part] += from * from;
    noise[part] += error * error;
  }

  Float signal[kParts] = {}, noise[kParts] = {};
};

// The same of `count` numbers, a multiple of 32.
inline void add_squares(const float* in, const float* out, int64_t count, int32_t exponent,
                        RoundingTile* tile) {
  const float scale = factor_of(exponent);
  Squares squares;
  for (int64_t i = 0; i < count; i += kSums) {
    ONNXBF_UNROLL
    for (int64_t part = 0; part < kParts; ++part) {
      const int64_t at = i + part * kLanes;
      squares.add<true>(part, load<Float>(in + at), load<Float>(out + at), scale);
    }
  }
  set_squares(total(squares.signal), total(squares.noise), exponent, tile);
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
  add_squares(before, after, filled, scale_exponent(plan, largest_lane(highest)), tile);
  tile->overflow = total(overflow);
  tile->saturated = total(saturated);
  tile->underflow = total(underflow);
  tile->nan = total(nan);
}

// What whole rows of sums showed while they were rounded.
struct Seen {
  Squares squares;
  Word underflow{};
};

// `kCounts`: those that become zero, too.
template <bool kScaled, bool kCounts, class Rounder, class Words>
inline void round_seen(const Rounder& shared, const float* in, float* out, int64_t count,
                       const Words& words, float scale, Seen* so_far) {
  const Rounder rounder = shared;  // of our own, as in round_lanes
  Seen seen = *so_far;
  for (int64_t i = 0; i < count; i += kSums) {
    Word before[kParts], after[kParts];
    ONNXBF_UNROLL
    for (int64_t part = 0; part < kParts; ++part) {
      const int64_t at = i + part * kLanes;
      prefetch(in + at);
      before[part] = load<Word>(in + at);
      after[part] = rounded(rounder, before[part], words, at);
      store(out + at, after[part]);
    }
    ONNXBF_UNROLL
    for (int64_t part = 0; part < kParts; ++part) {
      seen.squares.template add<kScaled>(part, float_of(before[part]), float_of(after[part]), scale);
      if constexpr (!kCounts) continue;
      seen.underflow += vanished(before[part] & ~kSign, after[part] & ~kSign) ? all(1) : Word{};
    }
  }
  *so_far = seen;
}

template <bool kScaled, bool kCounts, class Rounder>
inline void round_seen(const Plan& plan, const RandomKey& key, const float* in, float* out,
                       int64_t begin, int64_t end, int32_t exponent, RoundingTile* tile) {
  const Rounder rounder(plan);
  const float scale = factor_of(exponent);
  Seen seen;
  if constexpr (Rounder::kRandom) {
    for_random(key, begin, end, [&](int64_t i, int64_t count, const RandomWords& words) {
      const int64_t at = i - begin;
      round_seen<kScaled, kCounts>(rounder, in + at, out + at, count, words, scale, &seen);
    });
  } else {
    round_seen<kScaled, kCounts>(rounder, in, out, end - begin, NoWords{}, scale, &seen);
  }
  set_squares(total(seen.squares.signal), total(seen.squares.noise), exponent, tile);
  if constexpr (kCounts) tile->underflow = total(seen.underflow);
}

// Any tile.
template <class Rounder>
inline void round_first(const Plan& plan, const RandomKey& key, const float* in, float* out,
                        int64_t begin, int64_t end, RoundingTile* tile) {
  alignas(64) float copy[kTile];
  const int64_t count = end - begin;
  __builtin_memcpy(copy, in, static_cast<size_t>(count) * sizeof(float));
  round_range<ToCache>(Rounder(plan), key, copy, out, begin, end);
  measure_specials(plan, copy, out, count, tile);
}

template <class Rounder>
void measure_rounding(const Plan& plan, const RandomKey& key, const float* in, float* out,
                      int64_t begin, int64_t end, RoundingTile* tile) {
  using Bounded = typename Rounder::template Of<kBounded>;
  using Ordinary = typename Rounder::template Of<kOrdinary>;
  const Extremes found = extremes(plan, in, end - begin);
  const int32_t exponent = scale_exponent(plan, found.largest);
  const bool whole_rows = (end - begin) % kSums == 0 && (!Rounder::kRandom || begin % kSums == 0);
  *tile = {};
  if (found.largest > plan.max || !whole_rows) {
    round_first<Rounder>(plan, key, in, out, begin, end, tile);
  } else if (found.some_tiny) {
    round_seen<true, true, Bounded>(plan, key, in, out, begin, end, exponent, tile);
  } else if (exponent != 0) {
    round_seen<true, false, Ordinary>(plan, key, in, out, begin, end, exponent, tile);
  } else {
    round_seen<false, false, Ordinary>(plan, key, in, out, begin, end, exponent, tile);
  }
}

}  // namespace
}  // namespace onnxbf::ONNXBF_INSTRUCTION_SET

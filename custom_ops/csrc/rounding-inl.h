// Rounding lanes of float32 bit patterns, branch-free, on integers alone.
//
// A magnitude read as an integer grows with the number it stands for, and a carry out of the
// mantissa arrives in the exponent, where it belongs. So rounding adds an increment that depends
// on the mode and clears the dropped bits. Two ranges of formats differ in the rest:
//
//   wide    8 exponent bits: as many bits are dropped from subnormal numbers as from normal ones,
//           and numbers too large carry into infinity by themselves;
//   narrow  fewer: towards zero each lane drops a number of bits of its own.
#pragma once

#include "lanes-inl.h"

namespace onnxbf::ONNXBF_INSTRUCTION_SET {
namespace {

// All ones in lanes of positive numbers.
inline Word if_positive(Word sign) { return (sign >> 31) - 1; }

// What to add to a magnitude, of which the lowest bits go, those of `mask`, so that it carries into
// the lowest bit of `odd`, next above them, wherever the mode moves away from zero. `random`: as
// many random bits.
template <Rounding kRounding>
inline Word increment(Word sign, Word odd, Word mask, Word random) {
  if constexpr (kRounding == kNearestEven) return (mask >> 1) + (odd & mask & 1);
  if constexpr (kRounding == kNearestAway) return mask - (mask >> 1);
  if constexpr (kRounding == kUp) return mask & if_positive(sign);
  if constexpr (kRounding == kDown) return mask & ~if_positive(sign);
  if constexpr (kRounding == kToOdd) return mask & ((odd & 1) - 1);
  if constexpr (kRounding == kStochastic) return random;
  return Word{};
}

// As many random bits as a normal number loses.
struct RandomUnits {
  explicit RandomUnits(const Plan& plan)
      : kept(all(plan.random_kept >> 1 >> (31 - plan.dropped))), shift((32 - plan.dropped) & 31) {}

  Word operator()(Word random) const { return (random >> shift) & kept; }

  Word kept;
  uint32_t shift;
};

// Whether some magnitude lies below this one, zero apart.
inline bool any_below(uint32_t limit, Word magnitudes) {
  const Word one_less = (magnitudes - 1) & ~kSign;  // zero comes out as the largest
  return any_differs(larger_of(one_less, all(limit - 1)), one_less);
}

// Whether the lower half of a random word may change a result. A number is moved away from zero where
// what it loses, in units of 2^-32 of the last place, and the word sum to 2^32 or more. A carry from
// their lower halves matters only where the upper ones sum to all ones, once in 65536.
struct Doubt {
  explicit Doubt(const Plan& plan)
      : limit(all(kSign + ((plan.random_kept & 0xFFFF) != 0 ? 0x10000 : 0))),
        units(31 - plan.dropped),
        normal(plan.dropped > 16 && (plan.random_kept & 0xFFFF) != 0) {}

  // Numbers that lose as many bits as normal ones do: all in the upper half, if they are few.
  bool of_normal(Word bits, Word upper) const { return normal && of_lost(bits << units << 1, upper); }

  bool of_lost(Word lost, Word upper) const {
    const Word beyond = lost + upper + (kSign + 0x10000);  // all ones come out as the smallest
    return any_differs(larger_of(beyond, limit), beyond);
  }

  Word limit;
  uint32_t units;
  bool normal;
};

// bf16:rne, of which everything is known beforehand.
struct BFloat16 {
  static constexpr bool kRandom = false;

  explicit BFloat16(const Plan& plan) : flush_below(all(plan.flush_below)), max(all(plan.beyond)) {}

  Word operator()(Word bits, Word) const {
    const Word magnitude = bits & ~kSign;
    Word result = magnitude + 0x7FFF + ((bits >> 16) & 1);
    result = smaller_of(result, max);
    result = greater(flush_below, magnitude) ? Word{} : result;
    result = greater(magnitude, all(kInfinity)) ? magnitude | kQuietNan : result;
    return (result & 0xFFFF0000) | (bits & kSign);
  }

  Word flush_below, max;
};

template <Rounding kRounding>
struct WideExponent {
  static constexpr bool kRandom = kRounding == kStochastic;

  explicit WideExponent(const Plan& plan)
      : mask(all(plan.dropped_mask)),
        flush_below(all(plan.flush_below)),
        max(all(plan.beyond)),
        units_of(plan),
        doubt(plan),
        dropped(plan.dropped) {}

  Word operator()(Word bits, Word random) const {
    const Word sign = bits & kSign;
    const Word magnitude = bits ^ sign;
    const Word step = increment<kRounding>(sign, magnitude >> dropped, mask, units_of(random));
    Word result = smaller_of(magnitude + step, max);
    result = greater(flush_below, magnitude) ? Word{} : result;
    result = greater(magnitude, all(kInfinity)) ? magnitude | kQuietNan : result;
    return (result & ~mask) | sign;
  }

  bool in_doubt(Word bits, Word upper) const { return doubt.of_normal(bits, upper); }

  Word mask, flush_below, max;
  RandomUnits units_of;
  Doubt doubt;
  uint32_t dropped;
};

template <Rounding kRounding>
struct NarrowExponent {
  static constexpr bool kRandom = kRounding == kStochastic;
  // Numbers beyond the largest one and infinities may end differently in these modes.
  static constexpr bool kDirected = kRounding == kTowardZero || kRounding == kUp ||
                                    kRounding == kDown || kRounding == kToOdd;

  explicit NarrowExponent(const Plan& plan) : plan(plan), units_of(plan), doubt(plan) {}

  Word operator()(Word bits, Word random) const {
    const Word sign = bits & kSign;
    const Word magnitude = bits ^ sign;
    if constexpr (kRandom) {
      if (!any_below(plan.smallest_normal, magnitude)) return normal(bits, random);
    }
    const Word significand = magnitude | kImplicitBit;
    random &= all(plan.random_kept);

    const Word shift = smaller_of(dropped(magnitude), all(kMantissaBits));
    const Word mask = (all(1) << shift) - 1;
    const Word units = (random >> 1) >> (31 - shift);
    const Word step = increment<kRounding>(sign, significand >> shift, mask, units);
    Word result = (magnitude + step) & ~mask;

    result = greater(all(plan.smallest), magnitude) ? tiny(sign, magnitude, random) : result;
    result = greater(result, all(plan.max)) ? over(sign) : result;
    result = greater(all(plan.flush_below), magnitude) ? Word{} : result;
    if constexpr (kDirected) {
      result = greater(magnitude, all(kInfinity - 1)) ? all(plan.beyond) : result;
    }
    return with_nan(bits, result) | sign;
  }

  bool in_doubt(Word bits, Word upper) const {
    const Word magnitude = bits & ~kSign;
    if (!any_below(plan.smallest_normal, magnitude)) return doubt.of_normal(bits, upper);
    const Word shift = smaller_of(dropped(magnitude), all(kMantissaBits));
    const Word lost = (magnitude | kImplicitBit) << (31 - shift) << 1;
    const Word of_tiny = fraction(magnitude);
    return doubt.of_lost(greater(all(plan.smallest), magnitude) ? of_tiny : lost, upper);
  }

 private:
  // Stochastic rounding where no number is subnormal, so that all lose as many bits: half the work.
  Word normal(Word bits, Word random) const {
    const Word sign = bits & kSign;
    const Word result = ((bits ^ sign) + units_of(random)) & ~all(plan.dropped_mask);
    return with_nan(bits, greater(result, all(plan.max)) ? over(sign) : result) | sign;
  }

  Word with_nan(Word bits, Word result) const {
    const Word nan = (bits & all(plan.nan_kept)) | kQuietNan;
    return greater(bits & ~kSign, all(kInfinity)) ? nan : result;
  }

  // How many bits of the significand stand below the last place of the format: for numbers far
  // below the smallest one, many more than it has.
  Word dropped(Word magnitude) const {
    return larger_of(all(plan.subnormal_shift) - (magnitude >> kMantissaBits), all(plan.dropped));
  }

  // Magnitudes below the smallest number: that number, or zero.
  Word tiny(Word sign, Word magnitude, Word random) const {
    const Word smallest = all(plan.smallest);
    if constexpr (kRounding == kNearestEven) {
      return greater(magnitude, all(plan.half_smallest)) ? smallest : Word{};
    }
    if constexpr (kRounding == kNearestAway) {
      return greater(all(plan.half_smallest), magnitude) ? Word{} : smallest;
    }
    if constexpr (kRounding == kStochastic) {
      return fraction(magnitude) > ~random ? smallest : Word{};
    }
    const Word away = greater(magnitude, Word{}) ? smallest : Word{};
    if constexpr (kRounding == kUp) return away & if_positive(sign);
    if constexpr (kRounding == kDown) return away & ~if_positive(sign);
    if constexpr (kRounding == kToOdd) return away;
    return Word{};
  }

  // A magnitude below the smallest number, in units of 2^-32 of that number, cut off.
  Word fraction(Word magnitude) const {
    const Word significand = (magnitude & (kImplicitBit - 1)) | kImplicitBit;
    const Word shift = dropped(magnitude) - 24;  // not negative
    const Word units = (significand << 8) >> (shift & 31);
    return greater(shift, all(31)) ? Word{} : units;
  }

  Word over(Word sign) const {
    if constexpr (kRounding == kUp || kRounding == kDown) {
      return greater(Word{}, sign) ? all(plan.over_negative) : all(plan.over_positive);
    }
    return all(plan.over_positive);
  }

  Plan plan;
  RandomUnits units_of;
  Doubt doubt;
};

}  // namespace
}  // namespace onnxbf::ONNXBF_INSTRUCTION_SET

// Rounding lanes of float32 bit patterns, branch-free, on integers. (Where floats are added, no setting of
// the CPU's control register matters.)
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
      : kept(all(plan.random_kept >> 1 >> (31 - plan.dropped))),
        shift(all((32 - plan.dropped) & 31)) {}

  Word operator()(Word random) const { return (random >> shift) & kept; }

  Word kept;
  Word shift;
};

// A result of stochastic rounding from the upper halves of random words, and whether the lower ones may
// change it in some lane.
struct Quick {
  Word result;
  bool doubtful;
};

// Whether some magnitude lies below this one, zero apart.
inline bool any_below(uint32_t limit, Word magnitudes) {
  const Word one_less = (magnitudes - 1) & ~kSign;  // zero comes out as the largest
  return any_differs(larger_of(one_less, all(limit - 1)), one_less);
}

// Whether the lower half of a random word may change a result, as `raised` tells: the magnitude with
// random units added. A number moves away from zero where what it loses, in units of 2^-32 of the last
// place, and the word sum to 2^32 or more. A carry from what was left out of both, their lower halves
// at most, matters only where the bits above sum to all ones, once in 65536.
struct Doubt {
  explicit Doubt(const Plan& plan)
      : step(all(1u << (plan.dropped - summed(plan)))),
        field(all(plan.dropped_mask & ~((1u << (plan.dropped - summed(plan))) - 1))),
        possible((plan.random_kept << summed(plan)) != 0) {}

  // Bits below the last place that are added: of subnormal numbers, others are left out, too.
  static uint32_t summed(const Plan& plan) { return plan.dropped < 16 ? plan.dropped : 16; }

  // Zero in doubtful lanes.
  Word sureness(Word raised) const { return (raised + step) & field; }

  Word step, field;
  bool possible;
};

// The sum of two magnitudes, cut off, whatever the CPU's rounding mode; the second is zero or larger.
inline Word add_cut_off(Word magnitude, Word offset) {
  const Float term = float_of(magnitude), base = float_of(offset);
#if defined(ONNXBF_ADDS_TOWARDS_ZERO)
  return bits_of(add_towards_zero(term, base));
#else
  const Float sum = term + base;
  const Word above = greater(bits_of(sum - base), magnitude) ? all(~0u) : Word{};  // minus one
  return bits_of(sum) + above;
#endif
}

// What numbers a rounder is for: it leaves out what others need.
enum Numbers {
  kAny,
  kBounded,   // up to the format's largest one
  kOrdinary,  // zero, and those from its smallest to its largest one
};

// bf16:rne, of which everything is known beforehand.
template <Numbers kNumbers>
struct BFloat16Of {
  static constexpr bool kRandom = false;
  template <Numbers kOthers>
  using Of = BFloat16Of<kOthers>;

  explicit BFloat16Of(const Plan& plan) : flush_below(all(plan.flush_below)), max(all(plan.beyond)) {}

  Word operator()(Word bits, Word) const {
    const Word magnitude = bits & ~kSign;
    Word result = magnitude + 0x7FFF + ((bits >> 16) & 1);
    if constexpr (kNumbers == kAny) result = smaller_of(result, max);
    if constexpr (kNumbers != kOrdinary) result = greater(flush_below, magnitude) ? Word{} : result;
    if constexpr (kNumbers == kAny) {
      result = greater(magnitude, all(kInfinity)) ? magnitude | kQuietNan : result;
    }
    return (result & 0xFFFF0000) | (bits & kSign);
  }

  Word flush_below, max;
};
using BFloat16 = BFloat16Of<kAny>;

template <Rounding kRounding, Numbers kNumbers = kAny>
struct WideExponent {
  template <Numbers kOthers>
  using Of = WideExponent<kRounding, kOthers>;
  static constexpr bool kRandom = kRounding == kStochastic;

  explicit WideExponent(const Plan& plan)
      : mask(all(plan.dropped_mask)),
        flush_below(all(plan.flush_below)),
        max(all(plan.beyond)),
        units_of(plan),
        doubt(plan),
        doubtful(doubt.possible && plan.dropped > 16),
        dropped(plan.dropped) {}

  Word operator()(Word bits, Word random) const {
    const Word sign = bits & kSign;
    const Word magnitude = bits ^ sign;
    const Word step = increment<kRounding>(sign, magnitude >> dropped, mask, units_of(random));
    Word result = magnitude + step;
    if constexpr (kNumbers == kAny) result = smaller_of(result, max);
    if constexpr (kNumbers != kOrdinary) result = greater(flush_below, magnitude) ? Word{} : result;
    if constexpr (kNumbers == kAny) {
      result = greater(magnitude, all(kInfinity)) ? magnitude | kQuietNan : result;
    }
    return (result & ~mask) | sign;
  }

  Quick quick(Word bits, Word upper) const {
    const Word result = (*this)(bits, upper);
    if (!doubtful) return {result, false};
    return {result, any_is_zero(doubt.sureness((bits & ~kSign) + units_of(upper)))};
  }

  Word mask, flush_below, max;
  RandomUnits units_of;
  Doubt doubt;
  bool doubtful;
  uint32_t dropped;
};

template <Rounding kRounding, Numbers kNumbers = kAny>
struct NarrowExponent {
  template <Numbers kOthers>
  using Of = NarrowExponent<kRounding, kOthers>;
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
    if constexpr (kNumbers == kOrdinary) return result | sign;

    result = greater(all(plan.smallest), magnitude) ? tiny(sign, magnitude, random) : result;
    if constexpr (kNumbers == kAny) result = greater(result, all(plan.max)) ? over(sign) : result;
    result = greater(all(plan.flush_below), magnitude) ? Word{} : result;
    if constexpr (kNumbers == kBounded) return result | sign;
    if constexpr (kDirected) {
      result = greater(magnitude, all(kInfinity - 1)) ? all(plan.beyond) : result;
    }
    return with_nan(bits, result) | sign;
  }

  // Numbers below the smallest normal one become as long as it is when it is added to them: then all
  // lose as many bits. What that addition cuts off counts with the lower halves.
  Quick quick(Word bits, Word upper) const {
    const Word sign = bits & kSign;
    const Word magnitude = bits ^ sign;
    const auto subnormal = greater(all(plan.smallest_normal), magnitude);
    const Word offset = subnormal ? all(plan.smallest_normal) : Word{};
    const Word raised = add_cut_off(magnitude, offset) + units_of(upper);
    const Float rounded = float_of(raised & ~all(plan.dropped_mask)) - float_of(offset);
    Word result = bits_of(rounded) & ~kSign;  // -0, where the CPU rounds down
    if constexpr (kNumbers != kOrdinary) {
      if (plan.flush_below != 0) result = subnormal ? Word{} : result;
    }
    if constexpr (kNumbers == kAny) {
      result = greater(result, all(plan.max)) ? over(sign) : result;
      result = with_nan(bits, result);
    }
    result |= sign;

    if (!doubt.possible) return {result, false};
    const Word sureness = doubt.sureness(raised);
    if (plan.dropped > 16) return {result, any_is_zero(sureness)};
    return {result, any_is_zero(subnormal ? sureness : all(1))};
  }

 private:
  // Stochastic rounding where no number is subnormal, so that all lose as many bits: half the work.
  Word normal(Word bits, Word random) const {
    const Word sign = bits & kSign;
    const Word result = ((bits ^ sign) + units_of(random)) & ~all(plan.dropped_mask);
    if constexpr (kNumbers != kAny) return result | sign;
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

// In the place of random words, for modes that draw none.
struct NoWords {
  Word upper(int64_t) const { return Word{}; }
};

// A vector, of which `words`, or NoWords, have the random bits at element i.
template <class Rounder, class Words>
inline Word rounded(const Rounder& rounder, Word bits, const Words& words, int64_t i) {
  const Word random = words.upper(i);
  if constexpr (Rounder::kRandom) {
    const Quick quick = rounder.quick(bits, random);
    return __builtin_expect(quick.doubtful, 0) ? rounder(bits, words.whole(i)) : quick.result;
  } else {
    return rounder(bits, random);
  }
}

}  // namespace
}  // namespace onnxbf::ONNXBF_INSTRUCTION_SET

#include "plan.h"

#include <algorithm>

namespace onnxbf {
namespace {

// The bit pattern of 2^exponent, a normal float32 number.
uint32_t power_of_two(int32_t exponent) {
  return static_cast<uint32_t>(exponent + kExponentBias) << kMantissaBits;
}

uint32_t low_bits(int32_t count) { return (1u << count) - 1; }

// The magnitude that numbers beyond the largest one round to.
uint32_t overflow(const CastSpec& spec, const Plan& plan, bool negative) {
  switch (spec.rounding) {
    case kTowardZero:
    case kToOdd:
      return plan.max;
    case kUp:
      return negative ? plan.max : plan.beyond;
    case kDown:
      return negative ? plan.beyond : plan.max;
    default:
      return plan.beyond;
  }
}

uint32_t stand_in_for_infinity(const CastSpec& spec, uint32_t max) {
  if (spec.saturate != 0 || spec.specials == kNone) return max;
  return spec.specials == kIeee ? kInfinity : kQuietNan;
}

void plan_codes(const CastSpec& spec, Plan& plan) {
  const uint32_t exponent_ones = low_bits(spec.exponent_bits) << spec.mantissa_bits;
  const uint32_t mantissa_ones = low_bits(spec.mantissa_bits);
  const int32_t bias = static_cast<int32_t>(low_bits(spec.exponent_bits - 1));
  plan.mantissa_bits = static_cast<uint32_t>(spec.mantissa_bits);
  plan.sign_shift = static_cast<uint32_t>(31 - spec.exponent_bits - spec.mantissa_bits);
  plan.rebias = static_cast<uint32_t>(kExponentBias - bias) << kMantissaBits;
  plan.payload_mask = spec.specials == kIeee ? mantissa_ones : 0;
  plan.special_code = exponent_ones | (spec.specials == kIeee ? 0 : mantissa_ones);
  if (spec.specials == kNone) plan.special_code += 1;  // none is
}

}  // namespace

const char* problem(const CastSpec& spec) {
  if (spec.exponent_bits < 2 || spec.exponent_bits > 8) return "exponent_bits must be 2 to 8";
  if (spec.mantissa_bits < 1 || spec.mantissa_bits > 23) return "mantissa_bits must be 1 to 23";
  if (spec.specials < kIeee || spec.specials > kNone) return "specials must be ieee, nan or none";
  if (spec.exponent_bits == 8 && spec.specials != kIeee) {
    return "8 exponent_bits need ieee specials: float32 cannot hold a larger exponent";
  }
  if (spec.rounding < kNearestEven || spec.rounding > kStochastic) return "rounding is unknown";
  if (spec.random_bits < 1 || spec.random_bits > 32) return "random_bits must be 1 to 32";
  return nullptr;
}

const char* storage_problem(const CastSpec& spec) {
  if (const char* reason = problem(spec)) return reason;
  if (spec.exponent_bits + spec.mantissa_bits > 15) return "codes of more than 16 bits";
  if (spec.specials == kNone) return "the format has no code for NaN";
  return nullptr;
}

int32_t code_size(const CastSpec& spec) {
  return spec.exponent_bits + spec.mantissa_bits > 7 ? 2 : 1;
}

Plan make_plan(const CastSpec& spec) {
  const int32_t bias = static_cast<int32_t>(low_bits(spec.exponent_bits - 1));
  const int32_t min_exponent = 1 - bias;
  const int32_t max_exponent =
      static_cast<int32_t>(low_bits(spec.exponent_bits)) - (spec.specials == kIeee) - bias;
  const int32_t dropped = kMantissaBits - spec.mantissa_bits;
  const uint32_t ulp_of_max = 1u << dropped;

  Plan plan{};
  plan.dropped = static_cast<uint32_t>(dropped);
  plan.dropped_mask = low_bits(dropped);
  plan.subnormal_shift = static_cast<uint32_t>(dropped + min_exponent + kExponentBias);
  plan.smallest_normal = power_of_two(min_exponent);
  plan.flush_below = spec.flush != 0 ? plan.smallest_normal : 0;
  if (spec.exponent_bits < 8) {  // else subnormal in float32, too, and rounded as normal ones are
    plan.smallest = power_of_two(min_exponent - spec.mantissa_bits);
    plan.half_smallest = power_of_two(min_exponent - spec.mantissa_bits - 1);
  }
  plan.max = power_of_two(max_exponent + 1) - ulp_of_max;
  if (spec.specials == kNan) plan.max -= ulp_of_max;  // all ones is taken
  plan.beyond = stand_in_for_infinity(spec, plan.max);
  plan.over_positive = overflow(spec, plan, false);
  plan.over_negative = overflow(spec, plan, true);
  plan.nan_kept = spec.specials == kIeee ? ~plan.dropped_mask : kSign;
  plan.random_kept = ~0u << (32 - spec.random_bits);
  plan_codes(spec, plan);
  return plan;
}

}  // namespace onnxbf

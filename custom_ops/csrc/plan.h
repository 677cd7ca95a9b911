// The constants that a cast means for the kernels, worked out once per call.
#pragma once

#include "kernels.h"

namespace onnxbf {

constexpr uint32_t kSign = 0x80000000;
constexpr uint32_t kInfinity = 0x7F800000;
constexpr uint32_t kQuietNan = 0x7FC00000;
constexpr uint32_t kImplicitBit = 0x00800000;
constexpr int32_t kMantissaBits = 23;
constexpr int32_t kExponentBias = 127;

// All magnitudes are float32 bit patterns without the sign.
struct Plan {
  uint32_t dropped;          // mantissa bits that normal numbers lose
  uint32_t dropped_mask;     // those bits set
  uint32_t subnormal_shift;  // of an exponent field e, numbers lose max(dropped, this - e) bits
  uint32_t smallest;         // subnormal number
  uint32_t half_smallest;
  uint32_t smallest_normal;
  uint32_t flush_below;  // magnitudes below this become zero
  uint32_t max;
  uint32_t beyond;         // what infinity becomes
  uint32_t over_positive;  // what positive numbers that round beyond max become
  uint32_t over_negative;
  uint32_t nan_kept;  // bits of a NaN that survive
  uint32_t random_kept;

  // Codes.
  uint32_t mantissa_bits;
  uint32_t sign_shift;    // from bit 31 to the sign of a code
  uint32_t rebias;        // difference of the exponent fields, in place
  uint32_t special_code;  // codes from here on are not finite
  uint32_t payload_mask;  // bits of a NaN's code that hold its payload
};

Plan make_plan(const CastSpec& spec);

}  // namespace onnxbf

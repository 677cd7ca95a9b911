#include "vdpbf16ps.h"

#include <initializer_list>

#include "exact.h"
#include "float_bits.h"
#include "float_environment.h"
#include "plan.h"

namespace onnxbf {
namespace {

bool is_nan(uint32_t bits) { return (bits & ~kSign) > kInfinity; }

// One of both multiply-adds.
float add(float sum, uint32_t a, uint32_t b) {
  for (const uint32_t operand : {a, b, bits_of(sum)}) {
    if (is_nan(operand)) return float_of(operand | kQuietNan);
  }
  const float result = multiply_add_to_nearest(flushed(a), flushed(b), flushed(bits_of(sum)), true);
  return result == result ? result : float_of(kQuietNan | kSign);
}

}  // namespace

float vdpbf16ps(float sum, uint32_t a, uint32_t b) {
  const FloatEnvironment nearest(false);
  return add(add(sum, a & 0xFFFF0000, b & 0xFFFF0000), a << 16, b << 16);
}

}  // namespace onnxbf

// What a CPU may compute by instructions of its own: see onnxbf_cpu_codes and onnxbf_cpu_dots of c_api.h.
#pragma once

#include <cstdint>

#include "kernels.h"

namespace onnxbf {

using Conversion = void (*)(const CastSpec& spec, const float* in, uint16_t* codes, int64_t count);
using Dots = void (*)(const uint16_t* a, const uint16_t* b, float* out, int64_t count,
                      int64_t pairs);

// A format that the instructions know, if its numbers beyond the largest become infinite.
inline bool is_ieee(const CastSpec& spec, int32_t exponent_bits, int32_t mantissa_bits) {
  return spec.exponent_bits == exponent_bits && spec.mantissa_bits == mantissa_bits &&
         spec.specials == kIeee && spec.saturate == 0;
}

}  // namespace onnxbf

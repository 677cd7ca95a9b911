// What VDPBF16PS does with a lane, as the Intel SDM describes it.
//
// The product of the odd elements, in the upper halves, is added first, then that of the even ones: FP32
// multiply-adds, each rounded to nearest even, subnormals zero where they are read and written, whatever the
// control register says. Of NaNs, that of a's even element comes first, then b's, then those of the odd ones,
// then the sum's.
#pragma once

#include <cstdint>

namespace onnxbf {

float vdpbf16ps(float sum, uint32_t a, uint32_t b);

}  // namespace onnxbf

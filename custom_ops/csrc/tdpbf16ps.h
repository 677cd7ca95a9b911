// What TDPBF16PS does with a sum, as the Intel SDM describes it; which NaN it gives, as found by experiment.
#pragma once

#include <cstdint>

namespace onnxbf {

// The NaN of a sum to which a chunk of `count` products was added, which made it one. Of the chunk the even products
// stand in the first half, the odd ones in the second; from product to product it is so many numbers.
//
// The sum of even products is asked before that of odd ones. In each, the last product with a NaN has it, `a`
// before `b`; where there is none, one may arise.
float nan_of_chunk(int64_t count, const float* a, int64_t a_step, const float* b, int64_t b_step);

// Adds a chunk of so many pairs of bfloat16 numbers, the even one in the lower half of a word; from pair to pair of
// `b` it is so many words. Even and odd products are summed for themselves, by FP32 multiply-adds from +0 on, then
// added, then added to the sum: each rounded to nearest even, subnormals zero where they are read and written,
// whatever the control register says.
float tdpbf16ps(float sum, int64_t pairs, const uint32_t* a, const uint32_t* b, int64_t b_step);

}  // namespace onnxbf

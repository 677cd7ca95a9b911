// Which NaN TDPBF16PS gives, as found by experiment: onnxbf/dot.py says it, too.
#pragma once

#include <cstdint>

namespace onnxbf {

// The NaN of a sum to which a chunk of `count` products was added, which made it one. Of the chunk the even products
// stand in the first half, the odd ones in the second; from product to product it is so many numbers.
//
// The sum of even products is asked before that of odd ones. In each, the last product with a NaN has it, `a`
// before `b`; where there is none, one may arise.
float nan_of_chunk(int64_t count, const float* a, int64_t a_step, const float* b, int64_t b_step);

}  // namespace onnxbf

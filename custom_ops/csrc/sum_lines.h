// Sums in float32, one product after the other, of numbers that stand along lines: read line by line, as memory has
// them. These are the gradients of biases.
#pragma once

#include "sum.h"

namespace onnxbf {

// Whether sums are these: nothing is done to terms or sums, and neighbouring sums have neighbouring terms.
bool go_along_lines(const Arithmetic& arithmetic, const Sums& sums);

void sum_lines(const Kernels& kernels, const Sums& sums, const ParallelFor& parallel);

}  // namespace onnxbf

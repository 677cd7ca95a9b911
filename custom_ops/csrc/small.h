// Matrix products so small that factors and sums stay in the nearest cache, as those of attention: each is
// one task, and factors are not packed, but rounded where they stand in memory beside each other.
#pragma once

#include "gemm.h"

namespace onnxbf {

// Whether there is a kernel for these.
bool is_small(const Kernels& kernels, const Arithmetic& arithmetic, const Product& product);

// `otherwise`: computes one product of the batch, some of whose sums are NaN, which a profile may tell apart.
void multiply_small(const Kernels& kernels, const Arithmetic& arithmetic, const Product& product,
                    const ParallelFor& parallel,
                    const std::function<void(const Product&)>& otherwise);

}  // namespace onnxbf

// A convolution and its gradients as matrix products (gemm.h), one of whose factors is gathered from images
// while panels are packed: nothing is unfolded in memory. onnxbf/custom_ops/reference_conv.py is the specification.
//
// Where a window reaches beyond its image, or a weight meets no output, a product with zero is summed.
#pragma once

#include "conv_shape.h"
#include "gemm.h"

namespace onnxbf {

// For each image and group maps x outputs, summed over channels and, within one, over taps.
// `bias`: nullptr, or a number for each map.
Product conv_product(const ConvShape& shape, const float* x, const float* w, const float* bias,
                     float* y);

// For each image and group channels x inputs, summed over maps and, within one, over taps: the gradient of
// the input, or what ConvTranspose makes of dy. `bias`: nullptr, or a number for each channel.
Product conv_input_product(const ConvShape& shape, const float* dy, const float* w,
                           const float* bias, float* dx);

// For each group maps x (channels x taps), summed over images and, within one, over outputs. `in_order`:
// columns are computed in the order of memory, which costs time.
Product conv_weight_product(const ConvShape& shape, const Kernels& kernels, bool in_order,
                            const float* dy, const float* x, float* dw);

// The sums of dy over images and, within one, over outputs, for each map: in order, in FP32. Numbers go
// through `casts` beforehand.
void conv_bias_gradient(const Kernels& kernels, const ConvShape& shape,
                        const std::vector<CastSpec>& casts, const float* dy, float* db,
                        const ParallelFor& parallel);

}  // namespace onnxbf

// The float32 gradients of ONNX Runtime's training that its own kernels compute slowly, as loops of
// each instruction set. custom_ops/gradient_reference.py says what they compute.
//
// Every function gives the same bits on every instruction set: products that are summed are fused
// (one rounding), and sums have an order that the shape alone decides.
#pragma once

#include <cstdint>

namespace onnxbf {

struct GradientKernels {
  // dx = dy where x > 0, else 0. `dx` may be `dy`.
  void (*relu)(const float* dy, const float* x, float* dx, int64_t count);
};

}  // namespace onnxbf

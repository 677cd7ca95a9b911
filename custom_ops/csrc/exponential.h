// e^x in float32, rounded once: to nearest even, of the exact value.
#pragma once

namespace onnxbf {

// Whatever x is, to some 100 bits on the way: what the fast kernels fall back to (exponential-inl.h).
// Compiled once, for any CPU. Expects rounding to nearest, and subnormals.
float exponential(float x);

}  // namespace onnxbf

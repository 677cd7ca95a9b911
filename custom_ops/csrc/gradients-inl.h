// The loops of gradients.h, for one instruction set; included by kernels-inl.h, whose rules hold.
#pragma once

#include "conv_gradient-inl.h"

namespace onnxbf::ONNXBF_INSTRUCTION_SET {
namespace {

// Loads `count` numbers, fewer than a vector, and zeros behind them; stores as many.
inline Float load_some(const float* from, int64_t count) {
  float padded[kLanes] = {};
  __builtin_memcpy(padded, from, static_cast<size_t>(count) * sizeof(float));
  return load<Float>(padded);
}

inline void store_some(float* to, Float lanes, int64_t count) {
  __builtin_memcpy(to, &lanes, static_cast<size_t>(count) * sizeof(float));
}

inline Float relu_gradient(Float dy, Float x) { return x > Float{} ? dy : Float{}; }

void relu(const float* dy, const float* x, float* dx, int64_t count) {
  const auto body = [=](int64_t i) {
    store(dx + i, relu_gradient(load<Float>(dy + i), load<Float>(x + i)));
  };
  const auto tail = [=](int64_t i, int64_t rest) {
    store_some(dx + i, relu_gradient(load_some(dy + i, rest), load_some(x + i, rest)), rest);
  };
  for_lanes(count, body, tail);
}

constexpr GradientKernels gradient_kernels = {relu, transpose, weight_unit, input_unit};

}  // namespace
}  // namespace onnxbf::ONNXBF_INSTRUCTION_SET

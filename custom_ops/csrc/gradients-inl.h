// The loops of gradients.h, for one instruction set; included by kernels-inl.h, whose rules hold.
#pragma once

#include "conv_gradient-inl.h"
#include "loss-inl.h"
#include "norm_gradient-inl.h"
#include "pooling-inl.h"
#include "rows-inl.h"

namespace onnxbf::ONNXBF_INSTRUCTION_SET {
namespace {

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

void add(const float* terms, float* sums, int64_t count) {
  const auto body = [=](int64_t i) {
    store(sums + i, load<Float>(sums + i) + load<Float>(terms + i));
  };
  const auto tail = [=](int64_t i, int64_t rest) {
    store_some(sums + i, load_some(sums + i, rest) + load_some(terms + i, rest), rest);
  };
  for_lanes(count, body, tail);
}

constexpr GradientKernels gradient_kernels = {relu,       add,        transpose,
                                              weight_unit, input_unit, layer_norm,
                                              max_pool,   cross_entropy, cross_entropy_gradient,
                                              normalize,  softmax_gradient};

}  // namespace
}  // namespace onnxbf::ONNXBF_INSTRUCTION_SET

// The operators of domain ai.onnxbf. What each computes stands in custom_ops/registry.py.
#pragma once

#include <array>

#include "ort_abi.h"

namespace onnxbf {

const ort::CustomOp* quantize_dequantize_operator(const ort::Api& api);
const ort::CustomOp* quantize_dequantize_observed_operator(const ort::Api& api);
const ort::CustomOp* observe_update_operator(const ort::Api& api);
const ort::CustomOp* quantize_operator(const ort::Api& api);
const ort::CustomOp* matmul_operator(const ort::Api& api);
const ort::CustomOp* fused_matmul_operator(const ort::Api& api);
const ort::CustomOp* matmul_elementwise_operator(const ort::Api& api);
const ort::CustomOp* gemm_operator(const ort::Api& api);
const ort::CustomOp* quantize_range_operator(const ort::Api& api);
const ort::CustomOp* quantize_blocks_operator(const ort::Api& api);
const ort::CustomOp* quantize_scaled_operator(const ort::Api& api);
const ort::CustomOp* quantize_delayed_operator(const ort::Api& api);
const ort::CustomOp* conv_operator(const ort::Api& api);
const ort::CustomOp* conv_transpose_operator(const ort::Api& api);
const ort::CustomOp* conv_input_grad_operator(const ort::Api& api);
const ort::CustomOp* conv_weight_grad_operator(const ort::Api& api);
const ort::CustomOp* reduce_sum_operator(const ort::Api& api);
const ort::CustomOp* reduce_mean_operator(const ort::Api& api);
const ort::CustomOp* softmax_operator(const ort::Api& api);
const ort::CustomOp* layer_normalization_operator(const ort::Api& api);
const ort::CustomOp* softmax_grad_operator(const ort::Api& api);
const ort::CustomOp* layer_norm_grad_operator(const ort::Api& api);
const ort::CustomOp* elementwise_operator(const ort::Api& api);
const ort::CustomOp* elementwise_observed_operator(const ort::Api& api);

// One for each type of input: operators of one name may differ in their types.
std::array<const ort::CustomOp*, 4> dequantize_operators(const ort::Api& api);

// What training computes in float32 (gradients.h).
const ort::CustomOp* relu_grad_operator(const ort::Api& api);
const ort::CustomOp* conv_grad_operator(const ort::Api& api);
const ort::CustomOp* gather_grad_operator(const ort::Api& api);
const ort::CustomOp* layer_normalization_grad_operator(const ort::Api& api);
const ort::CustomOp* max_pool_operator(const ort::Api& api);
const ort::CustomOp* max_pool_grad_operator(const ort::Api& api);
const ort::CustomOp* cross_entropy_operator(const ort::Api& api);
const ort::CustomOp* cross_entropy_grad_operator(const ort::Api& api);
const ort::CustomOp* softmax_grad_13_operator(const ort::Api& api);

}  // namespace onnxbf

// What ONNX Runtime calls when a session's options name this library.
#include <memory>
#include <string>

#include "ops/custom_op.h"
#include "ops/operators.h"

namespace onnxbf {
namespace {

constexpr const char* kDomain = "ai.onnxbf";

using Domain = std::unique_ptr<ort::CustomOpDomain, void (*)(ort::CustomOpDomain*)>;

Domain make_domain(const ort::Api& api) {
  ort::CustomOpDomain* created = nullptr;
  ort::check(api, api.CreateCustomOpDomain(kDomain, &created));
  Domain domain(created, api.ReleaseCustomOpDomain);
  const auto add = [&](const ort::CustomOp* op) {
    ort::check(api, api.CustomOpDomain_Add(created, op));
  };
  add(quantize_dequantize_operator(api));
  add(quantize_dequantize_observed_operator(api));
  add(observe_update_operator(api));
  add(quantize_operator(api));
  add(matmul_operator(api));
  add(fused_matmul_operator(api));
  add(matmul_elementwise_operator(api));
  add(gemm_operator(api));
  add(quantize_range_operator(api));
  add(quantize_blocks_operator(api));
  add(quantize_scaled_operator(api));
  add(quantize_delayed_operator(api));
  add(conv_operator(api));
  add(conv_transpose_operator(api));
  add(conv_input_grad_operator(api));
  add(conv_weight_grad_operator(api));
  add(reduce_sum_operator(api));
  add(reduce_mean_operator(api));
  add(softmax_operator(api));
  add(layer_normalization_operator(api));
  add(softmax_grad_operator(api));
  add(layer_norm_grad_operator(api));
  add(elementwise_operator(api));
  add(elementwise_observed_operator(api));
  for (const ort::CustomOp* op : dequantize_operators(api)) add(op);
  add(relu_grad_operator(api));
  add(conv_grad_operator(api));
  add(gather_grad_operator(api));
  add(layer_normalization_grad_operator(api));
  add(max_pool_operator(api));
  add(max_pool_grad_operator(api));
  add(cross_entropy_operator(api));
  add(cross_entropy_grad_operator(api));
  add(softmax_grad_13_operator(api));
  return domain;
}

}  // namespace
}  // namespace onnxbf

extern "C" __attribute__((visibility("default"))) onnxbf::ort::Status* RegisterCustomOps(
    onnxbf::ort::SessionOptions* options, const onnxbf::ort::ApiBase* base) {
  using namespace onnxbf;
  const ort::Api* api = base->GetApi(ort::kApiVersion);
  if (api == nullptr) {
    const std::string release = base->GetVersionString();
    return base->GetApi(1)->CreateStatus(
        ort::kFail, ("onnxbf needs ONNX Runtime 1.18 or newer; this is " + release + ".").c_str());
  }
  return ort::guarded(*api, [&] {
    // Sessions keep pointers into the domain, so it lives as long as the library: until ONNX
    // Runtime, having destroyed the last of them, unloads it.
    static const Domain domain = make_domain(*api);
    ort::check(*api, api->AddCustomOpDomain(options, domain.get()));
  });
}

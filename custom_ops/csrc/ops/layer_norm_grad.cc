#include <algorithm>

#include "instruction_sets.h"
#include "kept_memory.h"
#include "ops/custom_op.h"
#include "ops/float_rows.h"
#include "ops/operators.h"

namespace onnxbf {
namespace {

// Rows are summed in so many chunks, or in fewer of at least so many rows: the shape alone decides.
constexpr int64_t kChunks = 32, kChunkRows = 16;

// The gradients of ONNX's LayerNormalization, of which each may be left out.
class LayerNormalizationGrad {
 public:
  static constexpr const char* kName = "LayerNormalizationGrad";
  // dy, x, scale, mean, inverse deviation
  static constexpr ort::Parameter kInputs[] = {
      {ort::kFloat}, {ort::kFloat}, {ort::kFloat}, {ort::kFloat}, {ort::kFloat}};
  static constexpr ort::Parameter kOutputs[] = {
      {ort::kFloat, ort::kOptional}, {ort::kFloat, ort::kOptional}, {ort::kFloat, ort::kOptional}};
  static constexpr bool kInPlace = false;

  static void infer(const ort::Inference&) {}

  explicit LayerNormalizationGrad(const ort::KernelAttributes& node)
      : axis_(node.integer("axis", -1)) {}

  void compute(const ort::Context& context) const {
    const ort::Tensor dy = context.input(0), x = context.input(1), scale = context.input(2);
    const ort::Tensor mean = context.input(3), deviation = context.input(4);
    const NormRows all = make_rows(dy, x, scale, mean, deviation);
    auto* dx = static_cast<float*>(context.optional_output(0, ort::kFloat, x.shape));
    auto* to_scale = static_cast<float*>(context.optional_output(1, ort::kFloat, scale.shape));
    auto* to_bias = static_cast<float*>(context.optional_output(2, ort::kFloat, scale.shape));
    const int64_t chunks = std::clamp<int64_t>(all.count / kChunkRows, 1, kChunks);
    const KeptMemory memory(static_cast<size_t>(chunks * 2 * all.width));
    const GradientKernels& kernels = chosen_kernels().gradients;
    context.parallel_tasks(chunks, [&](int64_t chunk) {
      float* sums = memory.data() + chunk * 2 * all.width;
      std::fill_n(sums, 2 * all.width, 0.0f);
      const int64_t first = tile_begin(chunk, chunks, all.count);
      NormRows rows = all;
      rows.dy += first * all.width;
      rows.x += first * all.width;
      rows.mean += first;
      rows.inverse_deviation += first;
      rows.dx = dx == nullptr ? nullptr : dx + first * all.width;
      rows.count = tile_begin(chunk + 1, chunks, all.count) - first;
      kernels.layer_norm(rows, sums, sums + all.width);
    });
    for (int64_t chunk = 1; chunk < chunks; ++chunk) {
      kernels.add(memory.data() + chunk * 2 * all.width, memory.data(), 2 * all.width);
    }
    if (to_scale != nullptr) std::copy_n(memory.data(), all.width, to_scale);
    if (to_bias != nullptr) std::copy_n(memory.data() + all.width, all.width, to_bias);
  }

 private:
  NormRows make_rows(const ort::Tensor& dy, const ort::Tensor& x, const ort::Tensor& scale,
                     const ort::Tensor& mean, const ort::Tensor& deviation) const {
    const auto [rows, width] = row_shape(x.shape, axis_);
    if (dy.shape != x.shape || scale.count != width || mean.count != rows ||
        deviation.count != rows) {
      throw ort::Error("the shapes of dy, x, scale, mean and deviation do not fit each other.");
    }
    return {numbers(dy), numbers(x), numbers(scale), numbers(mean), numbers(deviation),
            nullptr, rows, width};
  }

  int64_t axis_;
};

}  // namespace

const ort::CustomOp* layer_normalization_grad_operator(const ort::Api& api) {
  static const ort::OperatorOf<LayerNormalizationGrad> op(api);
  return &op;
}

}  // namespace onnxbf

#include <algorithm>

#include "conv_gradient.h"
#include "kept_memory.h"
#include "ops/conv_attributes.h"
#include "ops/custom_op.h"
#include "ops/operators.h"

namespace onnxbf {
namespace {

// Memory for so many tasks at a time: each strand runs every so manieth task.
constexpr int64_t kStrands = 32;

int64_t in_cache_lines(int64_t floats) { return (floats + 15) / 16 * 16; }

// The gradients of ONNX's Conv, of which each may be left out.
class ConvGrad {
 public:
  static constexpr const char* kName = "ConvGrad";
  static constexpr ort::Parameter kInputs[] = {{ort::kFloat}, {ort::kFloat}, {ort::kFloat}};
  static constexpr ort::Parameter kOutputs[] = {
      {ort::kFloat, ort::kOptional}, {ort::kFloat, ort::kOptional}, {ort::kFloat, ort::kOptional}};
  static constexpr bool kInPlace = false;

  static void infer(const ort::Inference&) {}

  explicit ConvGrad(const ort::KernelAttributes& node) : attributes_(node) {}

  void compute(const ort::Context& context) const {
    const ort::Tensor dy = context.input(0), x = context.input(1), w = context.input(2);
    const ConvShape shape = attributes_.shape(x.shape, w.shape, dy.shape);
    if (shape.dimensions() > 3) throw ort::Error("x has more than 3 spatial dimensions.");
    auto* dx = static_cast<float*>(context.optional_output(0, ort::kFloat, x.shape));
    auto* dw = static_cast<float*>(context.optional_output(1, ort::kFloat, w.shape));
    auto* db = static_cast<float*>(context.optional_output(2, ort::kFloat, {w.shape[0]}));
    const auto* gradient = static_cast<const float*>(dy.data);
    if (dx != nullptr && x.count != 0) {
      to_input(context, shape, gradient, static_cast<const float*>(w.data), dx);
    }
    if ((dw != nullptr || db != nullptr) && w.shape[0] != 0) {
      to_weights(context, shape, gradient, static_cast<const float*>(x.data), dw, db);
    }
  }

 private:
  void to_input(const ort::Context& context, const ConvShape& shape, const float* dy,
                const float* w, float* dx) const {
    const ConvInputGradient gradient(shape, chosen_kernels());
    const int64_t strands = std::min(kStrands, gradient.task_count());
    const int64_t packed = in_cache_lines(gradient.packed_size());
    const int64_t own = in_cache_lines(gradient.scratch_size());
    const KeptMemory memory(static_cast<size_t>(packed + strands * own));
    context.parallel_tasks(gradient.pack_count(),
                           [&](int64_t i) { gradient.pack(i, w, memory.data()); });
    context.parallel_tasks(strands, [&](int64_t strand) {
      float* scratch = memory.data() + packed + strand * own;
      for (int64_t i = strand; i < gradient.task_count(); i += strands) {
        gradient.run(i, dy, memory.data(), scratch, dx);
      }
    });
  }

  void to_weights(const ort::Context& context, const ConvShape& shape, const float* dy,
                  const float* x, float* dw, float* db) const {
    const ConvWeightGradient gradient(shape, chosen_kernels());
    const int64_t strands = std::min(kStrands, gradient.task_count());
    const int64_t left = in_cache_lines(gradient.task_count() * gradient.sums_size());
    const int64_t own = in_cache_lines(gradient.scratch_size());
    const KeptMemory memory(static_cast<size_t>(left + strands * own));
    context.parallel_tasks(strands, [&](int64_t strand) {
      float* scratch = memory.data() + left + strand * own;
      for (int64_t i = strand; i < gradient.task_count(); i += strands) {
        gradient.run(i, x, dy, scratch, memory.data() + i * gradient.sums_size());
      }
    });
    context.parallel_tasks(gradient.add_count(),
                           [&](int64_t i) { gradient.add(i, memory.data(), dw, db); });
  }

  ConvAttributes attributes_;
};

}  // namespace

const ort::CustomOp* conv_grad_operator(const ort::Api& api) {
  static const ort::OperatorOf<ConvGrad> op(api);
  return &op;
}

}  // namespace onnxbf

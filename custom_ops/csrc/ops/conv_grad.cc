#include <algorithm>

#include "conv_gradient.h"
#include "ops/custom_op.h"
#include "ops/operators.h"
#include "ops/scratch.h"

namespace onnxbf {
namespace {

using Sizes = std::vector<int64_t>;

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

  explicit ConvGrad(const ort::KernelAttributes& node)
      : auto_pad_(node.choice("auto_pad", {"NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"})),
        group_(node.integer("group", 1, 1, INT32_MAX)),
        pads_(node.integers("pads")),
        strides_(node.integers("strides")),
        dilations_(node.integers("dilations")) {}

  void compute(const ort::Context& context) const {
    const ort::Tensor dy = context.input(0), x = context.input(1), w = context.input(2);
    const ConvShape shape = make_shape(dy.shape, x.shape, w.shape);
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
    const ScratchPool::Lease memory(scratch_, static_cast<size_t>(packed + strands * own));
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
    const ScratchPool::Lease memory(scratch_, static_cast<size_t>(left + strands * own));
    context.parallel_tasks(strands, [&](int64_t strand) {
      float* scratch = memory.data() + left + strand * own;
      for (int64_t i = strand; i < gradient.task_count(); i += strands) {
        gradient.run(i, x, dy, scratch, memory.data() + i * gradient.sums_size());
      }
    });
    context.parallel_tasks(gradient.add_count(),
                           [&](int64_t i) { gradient.add(i, memory.data(), dw, db); });
  }

  ConvShape make_shape(const Sizes& dy, const Sizes& x, const Sizes& w) const {
    const size_t rank = x.size();
    if (rank < 3 || rank > 5 || w.size() != rank || dy.size() != rank) {
      throw ort::Error("dy, x and w must have the same rank, from 3 to 5.");
    }
    if (w[0] % group_ != 0 || x[1] != w[1] * group_ || dy[1] != w[0] || dy[0] != x[0]) {
      throw ort::Error("the shapes of dy, x and w do not fit each other.");
    }
    ConvShape shape{x[0], group_, w[1], w[0] / group_, {1, 1, 1}, {1, 1, 1}, {1, 1, 1},
                    {1, 1, 1}, {1, 1, 1}, {0, 0, 0}};
    const size_t dimensions = rank - 2;
    const auto of = [&](const Sizes& sizes, size_t i, int64_t fallback, size_t count) {
      if (sizes.empty()) return fallback;
      if (sizes.size() == count) return sizes[i];
      throw ort::Error("pads, strides and dilations must fit the dimensions of x.");
    };
    for (size_t i = 0; i < dimensions; ++i) {
      const size_t d = 3 - dimensions + i;
      shape.in[d] = x[i + 2];
      shape.out[d] = dy[i + 2];
      shape.kernel[d] = w[i + 2];
      shape.strides[d] = of(strides_, i, 1, dimensions);
      shape.dilations[d] = of(dilations_, i, 1, dimensions);
      if (shape.strides[d] < 1 || shape.dilations[d] < 1 || shape.kernel[d] < 1) {
        throw ort::Error("strides, dilations and the sizes of a kernel must be positive.");
      }
      const int64_t reach = (shape.kernel[d] - 1) * shape.dilations[d] + 1;
      int64_t begin = of(pads_, i, 0, 2 * dimensions);
      int64_t both = begin + of(pads_, i + dimensions, 0, 2 * dimensions);
      if (auto_pad_ != 0) {
        const bool same = auto_pad_ != 3;
        const int64_t spanned = (shape.out[d] - 1) * shape.strides[d] + reach;
        both = same ? std::max<int64_t>(spanned - shape.in[d], 0) : 0;
        begin = auto_pad_ == 1 ? both / 2 : both - both / 2;
      }
      shape.pads[d] = begin;
      if ((shape.in[d] + both - reach) / shape.strides[d] + 1 != shape.out[d]) {
        throw ort::Error("the shape of dy is not that of the convolution of x by w.");
      }
    }
    return shape;
  }

  int32_t auto_pad_;
  int64_t group_;
  Sizes pads_, strides_, dilations_;
  mutable ScratchPool scratch_;
};

}  // namespace

const ort::CustomOp* conv_grad_operator(const ort::Api& api) {
  static const ort::OperatorOf<ConvGrad> op(api);
  return &op;
}

}  // namespace onnxbf

#include <algorithm>
#include <atomic>
#include <limits>
#include <memory>
#include <optional>

#include "elementwise.h"
#include "instruction_sets.h"
#include "ops/custom_op.h"
#include "ops/operators.h"
#include "ops/program_attribute.h"

namespace onnxbf {
namespace {

using Sizes = std::vector<int64_t>;

constexpr int64_t kTaskInputs = int64_t{1} << 14;

// Planes that a task takes: its number is theirs by so many.
int64_t planes_together(int64_t plane) {
  return std::max<int64_t>(kTaskInputs / std::max<int64_t>(plane, 1), 1);
}

// Where the windows of some planes stand, see PoolPlanes.
class Windows {
 public:
  explicit Windows(PoolPlanes& planes) {
    const bool padded = planes.pad[0] > 0 || planes.pad[1] > 0;
    corners_ = places(planes, std::numeric_limits<int64_t>::min());
    if (padded) firsts_ = places(planes, 0);
    planes.corners = corners_.data();
    planes.firsts = padded ? firsts_.data() : planes.corners;
    for (int64_t across = 0; across < planes.kernel[1]; ++across) {
      spans_.push_back(first_at(planes.pad[1] - across, planes.stride[1]));
      spans_.push_back(first_at(planes.in[1] + planes.pad[1] - across, planes.stride[1]));
    }
    planes.spans = spans_.data();
  }

 private:
  // The first output whose window begins at `place` or behind it.
  static int64_t first_at(int64_t place, int64_t stride) {
    return place <= 0 ? 0 : (place + stride - 1) / stride;
  }

  // `least`: row or column.
  static std::vector<int32_t> places(const PoolPlanes& planes, int64_t least) {
    std::vector<int32_t> made;
    made.reserve(static_cast<size_t>(planes.count * planes.out[0] * planes.out[1] + kLongestVector));
    for (int64_t r = 0; r < planes.count * planes.out[0]; ++r) {
      const int64_t image = r / planes.out[0] * planes.in[0];
      const int64_t h = std::max(r % planes.out[0] * planes.stride[0] - planes.pad[0], least);
      for (int64_t c = 0; c < planes.out[1]; ++c) {
        const int64_t w = std::max(c * planes.stride[1] - planes.pad[1], least);
        made.push_back(static_cast<int32_t>((image + h) * planes.in[1] + w));
      }
    }
    made.resize(made.size() + kLongestVector);
    return made;
  }

  std::vector<int32_t> corners_, firsts_;
  std::vector<int64_t> spans_;
};

// ONNX's MaxPool of images, with both of its outputs; of what `program` makes of x, where there is one.
class MaxPool {
 public:
  static constexpr const char* kName = "MaxPool";
  static constexpr ort::Parameter kInputs[] = {{ort::kFloat}};
  static constexpr ort::Parameter kOutputs[] = {{ort::kFloat}, {ort::kInt64}};
  static constexpr bool kInPlace = false;

  static void infer(const ort::Inference&) {}

  explicit MaxPool(const ort::KernelAttributes& node)
      : kernel_(node.integers("kernel_shape")),
        strides_(node.integers("strides")),
        pads_(node.integers("pads")) {
    if (strides_.empty()) strides_ = {1, 1};
    if (pads_.empty()) pads_ = {0, 0, 0, 0};
    if (kernel_.size() != 2 || strides_.size() != 2 || pads_.size() != 4) {
      throw ort::Error("kernel_shape and strides must be of two dimensions, pads of four sides.");
    }
    for (size_t d = 0; d < 2; ++d) {
      const int64_t most = kernel_[d] - 1;
      if (kernel_[d] < 1 || strides_[d] < 1 || std::min(pads_[d], pads_[d + 2]) < 0 ||
          std::max(pads_[d], pads_[d + 2]) > most) {
        throw ort::Error("kernel_shape and strides must be positive, pads smaller than the kernel.");
      }
    }
    const auto is_set = [&](const char* name) { return node.integer(name, 0) != 0; };
    const Sizes gaps = node.integers("dilations");
    const bool gapped = std::any_of(gaps.begin(), gaps.end(), [](int64_t gap) { return gap != 1; });
    if (is_set("ceil_mode") || is_set("storage_order") || gapped ||
        node.choice("auto_pad", {"NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"}) != 0) {
      throw ort::Error("ceil_mode, storage_order, dilations and auto_pad must be left out.");
    }
    const std::string text = node.text("program");
    if (text.empty()) return;
    program_ = read_program(text);
    if (program_->inputs != 1 || program_->outputs != 1 || program_->shared != 0) {
      throw ort::Error("attribute 'program' must make one y0 of x0 alone.");
    }
  }

  void compute(const ort::Context& context) const {
    const ort::Tensor x = context.input(0);
    if (x.shape.size() != 4) throw ort::Error("x must have four dimensions.");
    PoolPlanes all{};
    for (size_t d = 0; d < 2; ++d) {
      all.in[d] = x.shape[d + 2];
      all.kernel[d] = kernel_[d];
      all.stride[d] = strides_[d];
      all.pad[d] = pads_[d];
      const int64_t room = all.in[d] + pads_[d] + pads_[d + 2] - kernel_[d];
      if (room < 0 || all.in[d] == 0) throw ort::Error("the kernel is larger than the padded x.");
      all.out[d] = room / strides_[d] + 1;
    }
    const int64_t plane = all.in[0] * all.in[1], pooled = all.out[0] * all.out[1];
    if (plane > INT32_MAX) throw ort::Error("an image of x has more numbers than 31 bits count.");
    const int64_t planes = x.shape[0] * x.shape[1];
    const Sizes shape{x.shape[0], x.shape[1], all.out[0], all.out[1]};
    auto* y = static_cast<float*>(context.output(0, ort::kFloat, shape));
    auto* indices = static_cast<int64_t*>(context.output(1, ort::kInt64, shape));
    const auto* numbers = static_cast<const float*>(x.data);
    const auto max_pool = chosen_kernels().gradients.max_pool;
    const int64_t together = std::min(planes_together(plane), planes);
    all.count = together;
    const Windows windows(all);
    context.parallel_tasks((planes + together - 1) / std::max<int64_t>(together, 1), [&](int64_t task) {
      PoolPlanes some = all;
      const int64_t first = task * together;
      some.count = std::min(together, planes - first);
      some.first = first * plane;
      some.x = numbers + some.first;
      some.y = y + first * pooled;
      some.indices = indices + first * pooled;
      const int64_t count = some.count * plane;
      const std::unique_ptr<float[]> made(program_ ? new float[static_cast<size_t>(count)] : nullptr);
      if (program_) some.x = run(some.x, count, made.get());
      max_pool(some);
    });
  }

 private:
  const float* run(const float* from, int64_t count, float* to) const {
    run_program(chosen_kernels(), *program_, {{{from}, {count}, {to}, count}}, {}, 0, count);
    return to;
  }

  Sizes kernel_, strides_, pads_;
  std::optional<Program> program_;
};

// Its gradient, whose last dimensions are those of `spatial`.
class MaxPoolGrad {
 public:
  static constexpr const char* kName = "MaxPoolGrad";
  static constexpr ort::Parameter kInputs[] = {{ort::kFloat}, {ort::kInt64}};  // dy, indices
  static constexpr ort::Parameter kOutputs[] = {{ort::kFloat}};
  static constexpr bool kInPlace = false;

  static void infer(const ort::Inference&) {}

  explicit MaxPoolGrad(const ort::KernelAttributes& node) : spatial_(node.integers("spatial")) {
    if (spatial_.size() != 2 || std::min(spatial_[0], spatial_[1]) < 0) {
      throw ort::Error("attribute 'spatial' must hold the height and the width of x.");
    }
  }

  void compute(const ort::Context& context) const {
    const ort::Tensor dy = context.input(0), places = context.input(1);
    if (dy.shape.size() != 4 || dy.shape != places.shape) {
      throw ort::Error("dy and indices must have the same shape, of four dimensions.");
    }
    const int64_t plane = spatial_[0] * spatial_[1], pooled = dy.shape[2] * dy.shape[3];
    const int64_t planes = dy.shape[0] * dy.shape[1];
    const Sizes shape{dy.shape[0], dy.shape[1], spatial_[0], spatial_[1]};
    auto* dx = static_cast<float*>(context.output(0, ort::kFloat, shape));
    const auto* gradient = static_cast<const float*>(dy.data);
    const auto* indices = static_cast<const int64_t*>(places.data);
    std::atomic<bool> astray{false};
    const int64_t together = planes_together(plane);
    context.parallel_tasks((planes + together - 1) / together, [&](int64_t task) {
      for (int64_t i = task * together; i < std::min((task + 1) * together, planes); ++i) {
        float* sums = dx + i * plane;
        std::fill_n(sums, plane, 0.0f);
        for (int64_t k = i * pooled; k < (i + 1) * pooled; ++k) {
          const int64_t place = indices[k] - i * plane;
          if (place >= 0 && place < plane) {
            sums[place] += gradient[k];
          } else {
            astray = true;
          }
        }
      }
    });
    if (astray) throw ort::Error("indices name numbers that are not of the same image.");
  }

 private:
  Sizes spatial_;
};

}  // namespace

const ort::CustomOp* max_pool_operator(const ort::Api& api) {
  static const ort::OperatorOf<MaxPool> op(api);
  return &op;
}

const ort::CustomOp* max_pool_grad_operator(const ort::Api& api) {
  static const ort::OperatorOf<MaxPoolGrad> op(api);
  return &op;
}

}  // namespace onnxbf

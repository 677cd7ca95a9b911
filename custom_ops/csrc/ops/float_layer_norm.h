// LayerNormalization in float32, in an order of our own.
#pragma once

#include <algorithm>
#include <string>

#include "instruction_sets.h"
#include "ops/compute_attributes.h"
#include "ops/custom_op.h"
#include "ops/float_rows.h"

namespace onnxbf {

// ONNX's LayerNormalization: x, scale and perhaps bias; y, perhaps rounded, and perhaps the mean and the
// inverse deviation.
class FloatLayerNormalization {
 public:
  explicit FloatLayerNormalization(const ort::KernelAttributes& node)
      : axis_(node.integer("axis", -1)),
        epsilon_(node.number("epsilon", 1e-5f)),
        cast_y_(read_cast(node, "cast_y")) {
    node.integer("stash_type", 1, 1, 1);
  }

  void compute(const ort::Context& context) const {
    const ort::Tensor x = context.input(0), scale = context.input(1);
    const RowShape shape = row_shape(x.shape, axis_);
    const bool has_bias = context.has_input(2) && context.input(2).count != 0;
    if (scale.count != shape.width || (has_bias && context.input(2).count != shape.width)) {
      throw ort::Error("scale and bias must have one number for each of a row's " +
                       std::to_string(shape.width) + ".");
    }
    std::vector<int64_t> one_each = x.shape;
    const auto rank = static_cast<int64_t>(one_each.size());
    std::fill(one_each.begin() + (axis_ < 0 ? axis_ + rank : axis_), one_each.end(), 1);
    const NormalizedRows all{
        numbers(x),
        numbers(scale),
        has_bias ? numbers(context.input(2)) : nullptr,
        epsilon_,
        static_cast<float*>(context.output(0, ort::kFloat, x.shape)),
        static_cast<float*>(context.optional_output(1, ort::kFloat, one_each)),
        static_cast<float*>(context.optional_output(2, ort::kFloat, one_each)),
        shape.rows,
        shape.width,
    };
    const auto normalize = chosen_kernels().gradients.normalize;
    for_some_rows(context, shape, [&](int64_t first, int64_t count) {
      NormalizedRows rows = all;
      rows.x += first * shape.width;
      rows.y += first * shape.width;
      if (rows.mean != nullptr) rows.mean += first;
      if (rows.inverse_deviation != nullptr) rows.inverse_deviation += first;
      rows.count = count;
      normalize(rows);
      if (!cast_y_) return;
      quantize_dequantize(chosen_kernels(), *cast_y_, RandomKey{}, rows.y, rows.y, 0,
                          count * shape.width, 0);
    });
  }

 private:
  int64_t axis_;
  float epsilon_;
  std::optional<CastSpec> cast_y_;
};

}  // namespace onnxbf

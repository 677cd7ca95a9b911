// Layer normalization and the gradient of Softmax (gradients.h), for one instruction set. Sums of a row are
// RowParts.
#pragma once

#include "norm_gradient-inl.h"

namespace onnxbf::ONNXBF_INSTRUCTION_SET {
namespace {

void normalize(const NormalizedRows& rows) {
  const float share = 1.0f / static_cast<float>(rows.width);
  const float* x = rows.x;
  float* y = rows.y;
  for (int64_t row = 0; row < rows.count; ++row, x += rows.width, y += rows.width) {
    RowParts sums, squares;
    for_parts(rows.width, [&](int64_t i, int64_t part, int64_t count) {
      sums.lanes[part] = sums.lanes[part] + load_up_to(x + i, count);
    });
    const Float mean = spread(sums.total() * share);
    for_parts(rows.width, [&](int64_t i, int64_t part, int64_t count) {
      const Float centred = up_to(load_up_to(x + i, count) - mean, count);
      squares.lanes[part] = multiply_add(centred, centred, squares.lanes[part], false);
    });
    const float deviation = __builtin_sqrtf(squares.total() * share + rows.epsilon);
    const Float inverse = spread(1.0f / deviation);
    for_parts(rows.width, [&](int64_t i, int64_t, int64_t count) {
      const Float normal = (load_up_to(x + i, count) - mean) * inverse;
      const Float scale = load_up_to(rows.scale + i, count);
      const Float bias = rows.bias == nullptr ? Float{} : load_up_to(rows.bias + i, count);
      store_up_to(y + i, multiply_add(normal, scale, bias, false), count);
    });
    if (rows.mean != nullptr) rows.mean[row] = lane(mean, 0);
    if (rows.inverse_deviation != nullptr) rows.inverse_deviation[row] = lane(inverse, 0);
  }
}

void softmax_gradient(const SoftmaxGradientRows& rows) {
  const float *dy = rows.dy, *y = rows.y;
  float* dx = rows.dx;
  for (int64_t row = 0; row < rows.count; ++row) {
    RowParts sums;
    for_parts(rows.width, [&](int64_t i, int64_t part, int64_t count) {
      const Float gradient = load_up_to(dy + i, count), share = load_up_to(y + i, count);
      sums.lanes[part] = multiply_add(gradient, share, sums.lanes[part], false);
    });
    const Float mean = spread(sums.total());
    for_parts(rows.width, [&](int64_t i, int64_t, int64_t count) {
      store_up_to(dx + i, (load_up_to(dy + i, count) - mean) * load_up_to(y + i, count), count);
    });
    dy += rows.width, y += rows.width, dx += rows.width;
  }
}

}  // namespace
}  // namespace onnxbf::ONNXBF_INSTRUCTION_SET

// The gradient of layer normalization (gradients.h), for one instruction set.
//
// A sum over a row is kept in sixteen parts, number i in part i % 16, which are added pairwise: the
// same sums on every instruction set.
#pragma once

#include "gemm-inl.h"
#include "gradients.h"

namespace onnxbf::ONNXBF_INSTRUCTION_SET {
namespace {

constexpr int64_t kRowParts = 16;

struct RowParts {
  Float lanes[kRowParts / kLanes] = {};

  float total() const {
    float parts[kRowParts];
    __builtin_memcpy(parts, lanes, sizeof parts);
    for (int64_t width = kRowParts / 2; width > 0; width /= 2) {
      for (int64_t i = 0; i < width; ++i) parts[i] += parts[i + width];
    }
    return parts[0];
  }
};

// Calls body(i, part, count) for the vectors of a row: `count` of its lanes are in the row.
template <class Body>
inline void for_parts(int64_t width, const Body& body) {
  int64_t i = 0;
  for (; i + kRowParts <= width; i += kRowParts) {
    ONNXBF_UNROLL
    for (int64_t part = 0; part < kRowParts / kLanes; ++part) body(i + part * kLanes, part, kLanes);
  }
  for (int64_t part = 0; i < width; ++part, i += kLanes) {
    body(i, part, width - i < kLanes ? width - i : kLanes);
  }
}

// Zeros beyond `count`.
inline Float up_to(Float lanes, int64_t count) {
  if (count == kLanes) return lanes;
  float numbers[kLanes];
  store(numbers, lanes);
  return load_some(numbers, count);
}

inline Float load_up_to(const float* from, int64_t count) {
  return count == kLanes ? load<Float>(from) : load_some(from, count);
}

inline void store_up_to(float* to, Float lanes, int64_t count) {
  if (count == kLanes) {
    store(to, lanes);
  } else {
    store_some(to, lanes, count);
  }
}

void layer_norm(const NormRows& rows, float* scale_sums, float* bias_sums) {
  const float share = 1.0f / static_cast<float>(rows.width);
  const float* dy = rows.dy;
  const float* x = rows.x;
  float* dx = rows.dx;
  for (int64_t row = 0; row < rows.count; ++row, dy += rows.width, x += rows.width) {
    const Float mean = spread(rows.mean[row]), deviation = spread(rows.inverse_deviation[row]);
    RowParts to_shift, to_scale;
    for_parts(rows.width, [&](int64_t i, int64_t part, int64_t count) {
      const Float gradient = load_up_to(dy + i, count);
      const Float normal = up_to((load_up_to(x + i, count) - mean) * deviation, count);
      const Float scaled = gradient * load_up_to(rows.scale + i, count);
      to_shift.lanes[part] = to_shift.lanes[part] + scaled;
      to_scale.lanes[part] = multiply_add(scaled, normal, to_scale.lanes[part], false);
      const Float sums = load_up_to(scale_sums + i, count);
      store_up_to(scale_sums + i, multiply_add(gradient, normal, sums, false), count);
      store_up_to(bias_sums + i, load_up_to(bias_sums + i, count) + gradient, count);
    });
    if (dx == nullptr) continue;
    const Float shift = spread(-to_shift.total() * share);
    const Float stretch = spread(-to_scale.total() * share);
    for_parts(rows.width, [&](int64_t i, int64_t, int64_t count) {
      const Float normal = (load_up_to(x + i, count) - mean) * deviation;
      const Float scaled = load_up_to(dy + i, count) * load_up_to(rows.scale + i, count);
      const Float centred = multiply_add(normal, stretch, scaled + shift, false);
      store_up_to(dx + i, centred * deviation, count);
    });
    dx += rows.width;
  }
}

}  // namespace
}  // namespace onnxbf::ONNXBF_INSTRUCTION_SET

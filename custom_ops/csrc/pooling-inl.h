// Largest numbers of windows, and where they stand (gradients.h), for one instruction set.
#pragma once

#include "gradients.h"

namespace onnxbf::ONNXBF_INSTRUCTION_SET {
namespace {

constexpr int64_t kPoolBlock = 64;  // outputs of some rows, whose largest numbers stay at hand

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

// The first output whose window's number `tap` stands at `place` of a row or behind it.
inline int64_t first_at(int64_t place, int64_t tap, int64_t stride) {
  return place <= tap ? 0 : (place - tap + stride - 1) / stride;
}

// Some rows of outputs, or a part of one row.
struct PoolBlock {
  int64_t top, left, rows, columns;
  float numbers[kPoolBlock + kLanes];  // one of each window
  float best[kPoolBlock + kLanes];
  int32_t corners[kPoolBlock + kLanes], places[kPoolBlock + kLanes];
};

inline void begin_block(const PoolPlane& plane, PoolBlock& block) {
  for (int64_t r = 0, i = 0; r < block.rows; ++r) {
    const int64_t h = (block.top + r) * plane.stride[0] - plane.pad[0];
    for (int64_t c = 0; c < block.columns; ++c, ++i) {
      const int64_t w = (block.left + c) * plane.stride[1] - plane.pad[1];
      block.best[i] = -__FLT_MAX__;
      block.corners[i] = static_cast<int32_t>(h * plane.in[1] + w);
      block.places[i] = static_cast<int32_t>(larger(h, 0) * plane.in[1] + larger(w, 0));
    }
  }
}

// Numbers that stand `stride` apart; a stride known beforehand lets the compiler take many at a time.
template <int64_t kStride>
inline void take(const float* from, int64_t stride, int64_t count, float* to) {
  for (int64_t i = 0; i < count; ++i) to[i] = from[i * (kStride != 0 ? kStride : stride)];
}

inline void fill(float* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = -__builtin_inff();
}

// One number of each window; such as loses every comparison where the window reaches beyond the image.
template <int64_t kStride>
void gather(const PoolPlane& plane, int64_t down, int64_t across, PoolBlock& block) {
  const int64_t stride = plane.stride[1];
  const int64_t first = first_at(plane.pad[1], across, stride);
  const int64_t beyond = first_at(plane.in[1] + plane.pad[1], across, stride);
  const int64_t end = block.left + block.columns;
  const int64_t begin = smaller(larger(first, block.left), end);
  const int64_t count = larger(smaller(beyond, end) - begin, 0);
  const float* from = plane.x + begin * stride + across - plane.pad[1];
  float* to = block.numbers;
  for (int64_t r = 0; r < block.rows; ++r, to += block.columns) {
    const int64_t row = (block.top + r) * plane.stride[0] - plane.pad[0] + down;
    if (row < 0 || row >= plane.in[0]) {
      fill(to, block.columns);
      continue;
    }
    const int64_t before = begin - block.left;
    fill(to, before);
    take<kStride>(from + row * plane.in[1], stride, count, to + before);
    fill(to + before + count, block.columns - before - count);
  }
}

// Compares the numbers with the largest so far, without a branch that depends on them.
inline void keep_larger(int64_t distance, PoolBlock& block) {
  for (int64_t i = 0; i < block.rows * block.columns; i += kLanes) {
    const Float number = load<Float>(block.numbers + i), best = load<Float>(block.best + i);
    const Int place = load<Int>(block.corners + i) + (Int)all(static_cast<uint32_t>(distance));
    const auto is_larger = number > best;
    store(block.best + i, is_larger ? number : best);
    store(block.places + i, is_larger ? place : load<Int>(block.places + i));
  }
}

void max_pool(const PoolPlane& plane) {
  const auto gather_one = plane.stride[1] == 1   ? gather<1>
                          : plane.stride[1] == 2 ? gather<2>
                                                 : gather<0>;
  PoolBlock block{};
  const int64_t rows = larger(kPoolBlock / plane.out[1], 1);
  for (block.top = 0; block.top < plane.out[0]; block.top += rows) {
    block.rows = smaller(rows, plane.out[0] - block.top);
    for (block.left = 0; block.left < plane.out[1]; block.left += kPoolBlock) {
      block.columns = smaller(kPoolBlock, plane.out[1] - block.left);
      begin_block(plane, block);
      for (int64_t down = 0; down < plane.kernel[0]; ++down) {
        for (int64_t across = 0; across < plane.kernel[1]; ++across) {
          gather_one(plane, down, across, block);
          keep_larger(down * plane.in[1] + across, block);
        }
      }
      const int64_t begin = block.top * plane.out[1] + block.left;
      for (int64_t i = 0; i < block.rows * block.columns; ++i) plane.y[begin + i] = block.best[i];
      for (int64_t i = 0; i < block.rows * block.columns; ++i) {
        plane.indices[begin + i] = plane.first + block.places[i];
      }
    }
  }
}

}  // namespace
}  // namespace onnxbf::ONNXBF_INSTRUCTION_SET

// Largest numbers of windows, and where they stand (gradients.h), for one instruction set.
#pragma once

#include "gradients.h"
#include "lanes-inl.h"

namespace onnxbf::ONNXBF_INSTRUCTION_SET {
namespace {

constexpr int64_t kPoolBlock = 64;  // outputs of some rows, whose largest numbers stay at hand
constexpr int64_t kPoolTaps = 16;   // numbers of each window that are brought side by side at a time

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

// Some rows of outputs, or a part of one row: the numbers [begin, begin + size) of all.
struct PoolBlock {
  int64_t top, left, rows, columns, begin, size;
  float numbers[kPoolTaps][kPoolBlock + kLanes];  // of each window
  int32_t distances[kPoolTaps];                   // from the window's first number
  float best[kPoolBlock + kLanes];
  int32_t places[kPoolBlock + kLanes];
};

inline void begin_block(const PoolPlanes& planes, PoolBlock& block) {
  const Float least = Float{} - __FLT_MAX__;
  block.begin = block.top * planes.out[1] + block.left;
  block.size = block.rows * block.columns;
  for (int64_t i = 0; i < block.size; i += kLanes) {
    store(block.best + i, least);
    store(block.places + i, load<Int>(planes.firsts + block.begin + i));
  }
}

// Numbers that stand `stride` apart, from `first` of a row of `width`; a stride known beforehand lets the
// compiler take many at a time.
template <int64_t kStride>
inline void take(const float* row, int64_t first, int64_t width, int64_t stride, int64_t count,
                 float* to) {
  const float* from = row + first;
  int64_t i = 0;
  if constexpr (kStride == 2) {
    constexpr int64_t kFour = 4;
    if (first > 0) {  // the second of each pair, from the number before
      for (; i + kFour <= count; i += kFour) {
        const Four a = load<Four>(from + 2 * i - 1), b = load<Four>(from + 2 * i + 3);
        store(to + i, ONNXBF_SHUFFLE(a, b, 1, 3, 5, 7));
      }
    } else {
      for (; i + kFour <= count && 2 * (i + kFour) <= width; i += kFour) {
        const Four a = load<Four>(from + 2 * i), b = load<Four>(from + 2 * i + 4);
        store(to + i, ONNXBF_SHUFFLE(a, b, 0, 2, 4, 6));
      }
    }
  }
  for (; i < count; ++i) to[i] = from[i * (kStride != 0 ? kStride : stride)];
}

inline void fill(float* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = -__builtin_inff();
}

// One number of each window; such as loses every comparison where the window reaches beyond the image.
template <int64_t kStride>
void gather(const PoolPlanes& planes, int64_t down, int64_t across, const PoolBlock& block,
            float* to) {
  const int64_t stride = planes.stride[1], end = block.left + block.columns;
  const int64_t begin = smaller(larger(planes.spans[2 * across], block.left), end);
  const int64_t before = begin - block.left;
  const int64_t count = larger(smaller(planes.spans[2 * across + 1], end) - begin, 0);
  const int64_t first = begin * stride + across - planes.pad[1];
  const float* x = planes.x + block.top / planes.out[0] * planes.in[0] * planes.in[1];
  const int64_t rows = block.rows, columns = block.columns, height = planes.in[0];
  const int64_t width = planes.in[1], down_stride = planes.stride[0];
  int64_t row = block.top % planes.out[0];
  for (int64_t r = 0; r < rows; ++r, to += columns) {
    const int64_t h = row * down_stride - planes.pad[0] + down;
    if (h < 0 || h >= height) {
      fill(to, columns);
    } else {
      if (before > 0) fill(to, before);
      take<kStride>(x + h * width, first, width, stride, count, to + before);
      if (before + count < columns) fill(to + before + count, columns - before - count);
    }
    if (++row == planes.out[0]) {
      row = 0;
      x += height * width;
    }
  }
}

// Compares the numbers with the largest so far, without a branch that depends on them.
inline void keep_larger(const PoolPlanes& planes, int64_t taps, PoolBlock& block) {
  for (int64_t i = 0; i < block.size; i += kLanes) {
    const Int corner = load<Int>(planes.corners + block.begin + i);
    Float best = load<Float>(block.best + i);
    Int place = load<Int>(block.places + i);
    for (int64_t tap = 0; tap < taps; ++tap) {
      const Float number = load<Float>(block.numbers[tap] + i);
      const auto is_larger = number > best;
      best = is_larger ? number : best;
      place = is_larger ? corner + (Int)all(static_cast<uint32_t>(block.distances[tap])) : place;
    }
    store(block.best + i, best);
    store(block.places + i, place);
  }
}

inline void hand_out(const PoolBlock& block, int64_t first, float* y, int64_t* indices) {
  const int64_t size = block.size;
  for (int64_t i = 0; i < size; ++i) y[i] = block.best[i];
  for (int64_t i = 0; i < size; ++i) indices[i] = first + block.places[i];
}

void max_pool(const PoolPlanes& planes) {
  const auto gather_one = planes.stride[1] == 1   ? gather<1>
                          : planes.stride[1] == 2 ? gather<2>
                                                  : gather<0>;
  PoolBlock block;
  const int64_t all_taps = planes.kernel[0] * planes.kernel[1];
  const int64_t rows = larger(kPoolBlock / planes.out[1], 1), all = planes.count * planes.out[0];
  for (block.top = 0; block.top < all; block.top += rows) {
    block.rows = smaller(rows, all - block.top);
    for (block.left = 0; block.left < planes.out[1]; block.left += kPoolBlock) {
      block.columns = smaller(kPoolBlock, planes.out[1] - block.left);
      begin_block(planes, block);
      for (int64_t first = 0; first < all_taps; first += kPoolTaps) {
        const int64_t taps = smaller(kPoolTaps, all_taps - first);
        for (int64_t tap = 0; tap < taps; ++tap) {
          const int64_t down = (first + tap) / planes.kernel[1];
          const int64_t across = (first + tap) % planes.kernel[1];
          block.distances[tap] = static_cast<int32_t>(down * planes.in[1] + across);
          gather_one(planes, down, across, block, block.numbers[tap]);
        }
        keep_larger(planes, taps, block);
      }
      hand_out(block, planes.first, planes.y + block.begin, planes.indices + block.begin);
    }
  }
}

}  // namespace
}  // namespace onnxbf::ONNXBF_INSTRUCTION_SET

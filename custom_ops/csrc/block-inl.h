// The loops of block.h, over lanes.
#pragma once

#include "block.h"
#include "elementwise-inl.h"

namespace onnxbf::ONNXBF_INSTRUCTION_SET {
namespace {

uint32_t largest_of(const float* x, int64_t count) {
  Word most{};
  const auto body = [&](int64_t i) { most = larger_of(most, load<Word>(x + i) & ~kSign); };
  const auto tail = [&](int64_t i, int64_t rest) {
    most = larger_of(most, bits_of(load_some(x + i, rest)) & ~kSign);
  };
  for_lanes(count, body, tail);
  uint32_t lanes[kLanes];
  store(lanes, most);
  uint32_t found = lanes[0];
  for (int64_t lane = 1; lane < kLanes; ++lane) found = lanes[lane] > found ? lanes[lane] : found;
  return found;
}

void larger_columns(const float* x, uint32_t* magnitudes, int64_t count) {
  const auto body = [&](int64_t i) {
    store(magnitudes + i, larger_of(load<Word>(magnitudes + i), load<Word>(x + i) & ~kSign));
  };
  const auto tail = [&](int64_t i, int64_t rest) {
    for (int64_t last = i; last < i + rest; ++last) {
      uint32_t magnitude;
      __builtin_memcpy(&magnitude, x + last, sizeof magnitude);
      magnitude &= ~kSign;
      if (magnitude > magnitudes[last]) magnitudes[last] = magnitude;
    }
  };
  for_lanes(count, body, tail);
}

template <bool single>
void scale_block(const float* x, const float* factors, float max, float* out, int64_t count) {
  const Lane<single> by(factors);
  const Float most = spread(max), least = spread(-max);
  const auto scaled = [=](Float numbers, Float factor) {
    const Float y = numbers * factor;
    const Float below = y < most ? y : most;
    return below > least ? below : least;
  };
  const auto body = [&](int64_t i) { store(out + i, scaled(load<Float>(x + i), by.at(i))); };
  const auto tail = [&](int64_t i, int64_t rest) {
    store_some(out + i, scaled(load_some(x + i, rest), by.last(i, rest)), rest);
  };
  for_lanes(count, body, tail);
}

template <bool single>
void restore_block(const float* factors, float* out, int64_t count) {
  const Lane<single> by(factors);
  const auto restored = [](Float y, Float factor) {
    return factor == factor ? y * factor : factor;
  };
  const auto body = [&](int64_t i) { store(out + i, restored(load<Float>(out + i), by.at(i))); };
  const auto tail = [&](int64_t i, int64_t rest) {
    store_some(out + i, restored(load_some(out + i, rest), by.last(i, rest)), rest);
  };
  for_lanes(count, body, tail);
}

constexpr BlockKernels block_kernels = {
    largest_of,         larger_columns,       scale_block<true>,
    scale_block<false>, restore_block<true>, restore_block<false>,
};

}  // namespace
}  // namespace onnxbf::ONNXBF_INSTRUCTION_SET

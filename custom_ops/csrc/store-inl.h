// Lines of numbers on their way from tensors to products and back: looked through, copied, turned, rounded.
#pragma once

#include "instruction_sets.h"
#include "rounding-inl.h"

namespace onnxbf::ONNXBF_INSTRUCTION_SET {
namespace {

template <class Words>
inline uint32_t any_lane(Words words) {
  constexpr size_t kCount = sizeof words / sizeof(uint32_t);
  uint32_t lanes[kCount], any = 0;
  __builtin_memcpy(lanes, &words, sizeof words);
  for (size_t i = 0; i < kCount; ++i) any |= lanes[i];
  return any;
}

uint32_t bits_set(const float* numbers, int64_t count) {
  Word bits{};
  for_lanes(count, [&](int64_t i) { bits |= load<Word>(numbers + i); },
            [&](int64_t i, int64_t rest) { bits |= bits_of(load_some(numbers + i, rest)); });
  return any_lane(bits);
}

// Copies a line, and adds the bits that are set in it.
inline void copy_line(const float* from, int64_t length, float* to, Word& bits) {
  const auto body = [&](int64_t i) {
    const Word words = load<Word>(from + i);
    bits |= words;
    store(to + i, words);
  };
  const auto tail = [&](int64_t i, int64_t rest) {
    const Float numbers = load_some(from + i, rest);
    bits |= bits_of(numbers);
    store_some(to + i, numbers, rest);
  };
  for_lanes(length, body, tail);
}

uint32_t copy_lines(const float* from, int64_t from_stride, int64_t lines, int64_t length,
                    float* to, int64_t to_stride) {
  constexpr int64_t kAhead = 8;  // lines may lie pages apart
  Word bits{};
  for (int64_t line = 0; line < lines; ++line, from += from_stride, to += to_stride) {
    for (int64_t i = 0; i < length; i += kCacheLine) __builtin_prefetch(from + kAhead * from_stride + i);
    copy_line(from, length, to, bits);
  }
  return any_lane(bits);
}

template <int64_t kWidth>
uint32_t spread_lines(const float* from, int64_t from_stride, int64_t lines, int64_t length,
                      const PanelLines& panels) {
  Word bits{};
  const int64_t flip = panels.swaps ? 1 : 0;
  for (int64_t line = 0; line < lines; ++line, from += from_stride) {
    float* to = panels.to + (line ^ flip) * kWidth;
    int64_t i = 0;
    for (; i + kWidth <= length; i += kWidth, to += panels.stride) {
      copy_line(from + i, kWidth, to, bits);
    }
    if (i < length) copy_line(from + i, length - i, to, bits);
  }
  return any_lane(bits);
}

#if defined(ONNXBF_TURNS_FOURS)
using Fours = Float;
#else
using Fours = Four;

inline Fours load_fours(const float* from, int64_t) { return load<Fours>(from); }

inline void turn_fours(Fours (&rows)[4]) {
  const Fours low = ONNXBF_SHUFFLE(rows[0], rows[1], 0, 4, 1, 5);
  const Fours high = ONNXBF_SHUFFLE(rows[0], rows[1], 2, 6, 3, 7);
  const Fours other_low = ONNXBF_SHUFFLE(rows[2], rows[3], 0, 4, 1, 5);
  const Fours other_high = ONNXBF_SHUFFLE(rows[2], rows[3], 2, 6, 3, 7);
  rows[0] = ONNXBF_SHUFFLE(low, other_low, 0, 1, 4, 5);
  rows[1] = ONNXBF_SHUFFLE(low, other_low, 2, 3, 6, 7);
  rows[2] = ONNXBF_SHUFFLE(high, other_high, 0, 1, 4, 5);
  rows[3] = ONNXBF_SHUFFLE(high, other_high, 2, 3, 6, 7);
}
#endif

// Number by number, from line `line` and number `k` on.
inline uint32_t turn_rest(const float* from, int64_t from_stride, int64_t line, int64_t lines,
                          int64_t k, int64_t length, float* to, int64_t to_stride) {
  uint32_t bits = 0;
  for (int64_t i = line; i < lines; ++i) {
    for (int64_t j = k; j < length; ++j) {
      uint32_t word;
      __builtin_memcpy(&word, from + i * from_stride + j, sizeof word);
      bits |= word;
      __builtin_memcpy(to + j * to_stride + i, &word, sizeof word);
    }
  }
  return bits;
}

// By blocks of as many lines as a vector has lanes, and four numbers of each.
uint32_t turn_lines(const float* from, int64_t from_stride, int64_t lines, int64_t length,
                    float* to, int64_t to_stride) {
  constexpr int64_t kFour = 4, kBlock = sizeof(Fours) / sizeof(float);
  using Words __attribute__((vector_size(sizeof(Fours)))) = uint32_t;
  Words bits{};
  uint32_t rest = 0;
  int64_t line = 0;
  for (; line + kBlock <= lines; line += kBlock) {
    const float* at = from + line * from_stride;
    int64_t k = 0;
    for (; k + kFour <= length; k += kFour, at += kFour) {
      Fours rows[kFour];
      ONNXBF_UNROLL
      for (int64_t i = 0; i < kFour; ++i) {
        rows[i] = load_fours(at + i * from_stride, kFour * from_stride);
        bits |= (Words)rows[i];
      }
      turn_fours(rows);
      ONNXBF_UNROLL
      for (int64_t i = 0; i < kFour; ++i) store(to + (k + i) * to_stride + line, rows[i]);
    }
    rest |= turn_rest(from, from_stride, line, line + kBlock, k, length, to, to_stride);
  }
  rest |= turn_rest(from, from_stride, line, lines, 0, length, to, to_stride);
  return any_lane(bits) | rest;
}

// Vectors below each other in turn: what a rounder keeps in registers is loaded once for all of them.
template <class Rounder>
void store_rounded(const Plan& plan, const float* from, int64_t from_stride, int64_t rows,
                   int64_t columns, float* to, int64_t to_stride) {
  const Rounder rounder(plan);
  const auto body = [&](int64_t i) {
    const Rounder own = rounder;
    for (int64_t row = 0; row < rows; ++row) {
      const Word bits = load<Word>(from + row * from_stride + i);
      store(to + row * to_stride + i, own(bits, Word{}));
    }
  };
  const auto tail = [&](int64_t i, int64_t rest) {
    for (int64_t row = 0; row < rows; ++row) {
      const Word bits = bits_of(load_some(from + row * from_stride + i, rest));
      store_some(to + row * to_stride + i, float_of(rounder(bits, Word{})), rest);
    }
  };
  for_lanes(columns, body, tail);
}

}  // namespace
}  // namespace onnxbf::ONNXBF_INSTRUCTION_SET

// Tiles of dot products: each sum has a lane of its own, and takes its products in order.
//
// Which order that is, in which chunks, and what happens to the sums, gemm.cc decides. Where an
// accumulator rounds, the float32 multiply-add is rounded to it, which is right unless its own
// rounding hid on which side of a boundary the exact sum lies. Such lanes are rare: they are found
// afterwards and computed anew from the exact sum (exact.h).
#pragma once

#include "exact.h"
#include "float_tile-inl.h"

namespace onnxbf::ONNXBF_INSTRUCTION_SET {
namespace {

// The lanes of compute(i).
template <class Compute>
inline Float each_lane(const Compute& compute) {
  float numbers[kLanes];
  for (int64_t i = 0; i < kLanes; ++i) numbers[i] = compute(i);
  return load<Float>(numbers);
}

template <bool kOverflows>
[[gnu::noinline]] Float exact_to_odd(Float a, Float b, Float c) {
  return each_lane([&](int64_t i) {
    return onnxbf::multiply_add_to_odd(lane(a, i), lane(b, i), lane(c, i), kOverflows);
  });
}

// To odd: quickly, where the instruction set can.
inline Float to_odd(Float a, Float b, Float c) {
#if defined(ONNXBF_ROUNDS_TO_ODD)
  return multiply_add_to_odd(a, b, c);
#else
  return exact_to_odd<false>(a, b, c);
#endif
}

struct Float32 {
  explicit Float32(const Plan&) {}
  Float operator()(Float a, Float b, Float c, bool flush) const {
    return multiply_add(a, b, c, flush);
  }
};

// A multiply-add in a format: the sum is rounded once.
template <class Rounder>
struct Rounded {
  explicit Rounded(const Plan& plan) : rounder(plan) {}

  Float operator()(Float a, Float b, Float c, bool) const { return round(a, b, c, Word{}); }

  // `random`: of stochastic rounding, which has to be content with as many bits as multiply_add_to_odd
  // keeps below the last place.
  Float round(Float a, Float b, Float c, Word random) const {
#if defined(ONNXBF_ROUNDS_TO_ODD)
    Word odd = bits_of(multiply_add_to_odd(a, b, c));
    if constexpr (Rounder::kRandom) {  // the largest number may stand for one beyond it
      const Word below = all(kInfinity - 2);
      const Word magnitude = odd & ~kSign;
      if (__builtin_expect(any_differs(smaller_of(magnitude, below), magnitude), 0)) {
        odd = bits_of(exact_to_odd<true>(a, b, c));
      }
    }
    return float_of(rounder(odd, random));
#else
    const Word sum = bits_of(multiply_add(a, b, c, false));
    const Word sign = sum & kSign;
    const Word magnitude = sum ^ sign;
    const Word below = greater(magnitude, Word{}) ? magnitude - 1 : magnitude;
    const Word above = greater(all(kInfinity), magnitude) ? magnitude + 1 : magnitude;
    const Word low = rounder(below | sign, random);
    const Word high = rounder(above | sign, random);
    if (__builtin_expect(!any_differs(low, high), 1)) return float_of(low);
    return float_of(rounder(bits_of(exact_to_odd<Rounder::kRandom>(a, b, c)), random));
#endif
  }

  Rounder rounder;
};

template <class Step>
inline void tile_in_memory(const Step& step, bool flush, int64_t count, const float* a,
                           const float* b, float* sums) {
  for (int64_t k = 0; k < count; ++k, a += kRows, b += kColumns) {
    for (int64_t row = 0; row < kRows; ++row) {
      for (int64_t column = 0; column < kColumns; column += kLanes) {
        float* sum = sums + row * kColumns + column;
        store(sum, step(spread(a[row]), load<Float>(b + column), load<Float>(sum), flush));
      }
    }
  }
}

template <class Rounder>
void tile_rounded(const Plan& plan, bool flush, int64_t count, const float* a, const float* b,
                  float* sums) {
  tile_in_memory(Rounded<Rounder>(plan), flush, count, a, b, sums);
}

// bfloat16:rne, of which the sums that need a second look are known by their lower half. All others
// round as if halves went up.
struct AddBfloat16 {
  template <int64_t kCount>
  void operator()(const float* a, const Float* right, Float (&sums)[kCount][kVectors]) const {
    Word raised[kCount * kVectors];
    ONNXBF_UNROLL
    for (int64_t row = 0; row < kCount; ++row) {
      const Float left = spread(a[row]);
      ONNXBF_UNROLL
      for (int64_t v = 0; v < kVectors; ++v) {
        const Float sum = multiply_add(left, right[v], sums[row][v], false);
        raised[row * kVectors + v] = bits_of(sum) + 0x8000;
      }
    }
    if (__builtin_expect(some_lower_half_is_zero(raised), 0)) {
      for (int64_t row = 0; row < kCount; ++row) {
        for (int64_t v = 0; v < kVectors; ++v) {
          const Float left = spread(a[row]);
          raised[row * kVectors + v] = look_again(left, right[v], sums[row][v]);
        }
      }
    }
    ONNXBF_UNROLL
    for (int64_t row = 0; row < kCount; ++row) {
      ONNXBF_UNROLL
      for (int64_t v = 0; v < kVectors; ++v) {
        sums[row][v] = float_of(raised[row * kVectors + v] & 0xFFFF0000);
      }
    }
  }

  [[gnu::noinline]] static Word look_again(Float left, Float right, Float sum) {
    const Word odd = bits_of(to_odd(left, right, sum));
    const Word if_zero = (odd & 0x1FFFF) ^ 0x8000;  // halfway, and even below
    return odd + (greater(all(1), if_zero) ? all(0x7FFF) : all(0x8000));
  }
};

// By half the rows at a time: what is raised needs registers, too.
template <class Step>
inline void tile_by_halves(const Step& step, int64_t count, const float* a, const float* b,
                           float* sums) {
  constexpr int64_t kHalf = kRows / 2;
  for (int64_t row = 0; row < kRows; row += kHalf) {
    Registers<kHalf> tile;
    tile.load_from(sums + row * kColumns);
    tile.add(step, count, a + row, b);
    tile.store_to(sums + row * kColumns);
  }
}

#if !defined(ONNXBF_DOUBTS)
// Collects what is to be looked at again: ties, and what is not zero and no normal number.
struct Doubts {
  Word found{};

  void add(Word raised, Word rounded, Word dropped, Word smallest, Word range) {
    const Word magnitude = rounded & ~kSign;
    const Word is_tie = greater(all(1), raised & dropped) ? all(1) : Word{};
    const Word is_small = greater(smallest, magnitude) ? smaller_of(magnitude, all(1)) : Word{};
    const Word is_large = greater(magnitude, smallest + range) ? all(1) : Word{};
    found = found | is_tie | is_small | is_large;
  }
  bool any() const { return any_differs(found, Word{}); }
};
#endif

// Any format, to nearest even: as AddBfloat16 while sums are zero or normal numbers of the format.
template <class Rounder>
struct AddNearest {
  explicit AddNearest(const Plan& plan)
      : exactly(plan),
        half(all((plan.dropped_mask >> 1) + 1)),
        dropped(all(plan.dropped_mask)),
        smallest(all(plan.smallest_normal)),
        range(all(plan.max - plan.smallest_normal)) {}

  template <int64_t kCount>
  void operator()(const float* a, const Float* right, Float (&sums)[kCount][kVectors]) const {
    Word rounded[kCount][kVectors];
    Doubts doubts;
    ONNXBF_UNROLL
    for (int64_t row = 0; row < kCount; ++row) {
      const Float left = spread(a[row]);
      ONNXBF_UNROLL
      for (int64_t v = 0; v < kVectors; ++v) {
        const Word raised = bits_of(multiply_add(left, right[v], sums[row][v], false)) + half;
        rounded[row][v] = raised & ~dropped;
        doubts.add(raised, rounded[row][v], dropped, smallest, range);
      }
    }
    if (__builtin_expect(doubts.any(), 0)) {
      for (int64_t row = 0; row < kCount; ++row) {
        for (int64_t v = 0; v < kVectors; ++v) {
          rounded[row][v] = look_again(spread(a[row]), right[v], sums[row][v]);
        }
      }
    }
    ONNXBF_UNROLL
    for (int64_t row = 0; row < kCount; ++row) {
      ONNXBF_UNROLL
      for (int64_t v = 0; v < kVectors; ++v) sums[row][v] = float_of(rounded[row][v]);
    }
  }

  [[gnu::noinline]] Word look_again(Float left, Float right, Float sum) const {
    return bits_of(exactly.round(left, right, sum, Word{}));
  }

  Rounded<Rounder> exactly;
  Word half, dropped, smallest, range;
};

// Adds the float32 sum of `count` products to each sum, which is in bfloat16:rne: some rows at a time, that
// one question serves.
void chunk_bfloat16(const Plan&, bool, int64_t count, const float* a, const float* b, float* sums) {
  constexpr int64_t kSome = kRows % 4 == 0 ? 4 : 3, kWords = kSome * kVectors;
  Registers<kRows> tile{};
  tile.add(AddFloat32{false}, count, a, b);
  ONNXBF_UNROLL
  for (int64_t row = 0; row < kRows; row += kSome) {
    float* to = sums + row * kColumns;
    Word raised[kWords];
    ONNXBF_UNROLL
    for (int64_t i = 0; i < kWords; ++i) {
      const Float inner = tile.sums[row + i / kVectors][i % kVectors];
      raised[i] = bits_of(load<Float>(to + i * kLanes) + inner) + 0x8000;
    }
    if (__builtin_expect(some_lower_half_is_zero(raised), 0)) {
      for (int64_t i = 0; i < kWords; ++i) {
        const Float inner = tile.sums[row + i / kVectors][i % kVectors];
        raised[i] = AddBfloat16::look_again(spread(1), inner, load<Float>(to + i * kLanes));
      }
    }
    ONNXBF_UNROLL
    for (int64_t i = 0; i < kWords; ++i) store(to + i * kLanes, raised[i] & 0xFFFF0000);
  }
}

template <class Step>
void add_tile(const Plan& plan, bool flush, const float* terms, float* sums) {
  const Step step(plan);
  for (int64_t i = 0; i < kRows * kColumns; i += kLanes) {
    const Float term = load<Float>(terms + i);
    store(sums + i, step(spread(1), term, load<Float>(sums + i), flush));
  }
}

// Calls body(row, column, sum) for each vector of sums.
template <class Body>
inline void for_sums(float* sums, const Body& body) {
  for (int64_t row = 0; row < kRows; ++row) {
    for (int64_t column = 0; column < kColumns; column += kLanes) {
      float* sum = sums + row * kColumns + column;
      store(sum, body(row, column, load<Float>(sum)));
    }
  }
}

bool has_nan(const float* sums) {
  Word largest{};
  for (int64_t i = 0; i < kRows * kColumns; i += kLanes) {
    largest = larger_of(largest, load<Word>(sums + i) & ~kSign);
  }
  return any_differs(smaller_of(largest, all(kInfinity)), largest);
}

}  // namespace
}  // namespace onnxbf::ONNXBF_INSTRUCTION_SET

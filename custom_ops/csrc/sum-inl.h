// Rows of kSumWidth terms, added to as many sums, for one instruction set: what the tiles of dot products
// do where one factor is one.
#pragma once

#include "aligned-inl.h"
#include "order-inl.h"
#include "stochastic-inl.h"

namespace onnxbf::ONNXBF_INSTRUCTION_SET {
namespace {

static_assert(kSumWidth % kColumns == 0, "a row of terms is whole tiles wide");

constexpr float kOne = 1;

// step(&kOne, terms, sums) for each row, some vectors of it after the other.
template <class Step>
inline void sum_by(const Step& step, int64_t count, const float* terms, float* sums) {
  for (int64_t column = 0; column < kSumWidth; column += kColumns) {
    Float tile[1][kVectors];
    ONNXBF_UNROLL
    for (int64_t v = 0; v < kVectors; ++v) tile[0][v] = load<Float>(sums + column + v * kLanes);
    for (int64_t k = 0; k < count; ++k) {
      Float row[kVectors];
      const float* from = terms + k * kSumWidth + column;
      ONNXBF_UNROLL
      for (int64_t v = 0; v < kVectors; ++v) row[v] = load<Float>(from + v * kLanes);
      step(&kOne, row, tile);
    }
    ONNXBF_UNROLL
    for (int64_t v = 0; v < kVectors; ++v) store(sums + column + v * kLanes, tile[0][v]);
  }
}

// A step of single vectors as one of rows.
template <class Step>
struct ByVectors {
  void operator()(const float* a, const Float* right, Float (&sums)[1][kVectors]) const {
    ONNXBF_UNROLL
    for (int64_t v = 0; v < kVectors; ++v) {
      sums[0][v] = step(spread(a[0]), right[v], sums[0][v], flush);
    }
  }
  Step step;
  bool flush;
};

void sum_float32(const Plan&, bool flush, int64_t count, const float* terms, float* sums) {
  sum_by(AddFloat32{flush}, count, terms, sums);
}

// Adds so many lines: of each sum, all terms while it is in a register.
template <int64_t kLines>
inline void add_lines(const float* from, int64_t stride, int64_t width, float* sums) {
  constexpr int64_t kAhead = 2 * kLines;  // where lines are long, the CPU foresees the next ones too late
  const auto body = [=](int64_t i) {
    Float sum = load<Float>(sums + i);
    ONNXBF_UNROLL
    for (int64_t line = 0; line < kLines; ++line) {
      if constexpr (sizeof(Word) >= 32) __builtin_prefetch(from + (line + kAhead) * stride + i);
      sum = sum + load<Float>(from + line * stride + i);
    }
    store(sums + i, sum);
  };
  const auto tail = [=](int64_t i, int64_t rest) {
    Float sum = load_some(sums + i, rest);
    for (int64_t line = 0; line < kLines; ++line) {
      sum = sum + load_some(from + line * stride + i, rest);
    }
    store_some(sums + i, sum, rest);
  };
  for_lanes(width, body, tail);
}

void sum_lines(const float* from, int64_t stride, int64_t count, int64_t width, float* sums) {
  constexpr int64_t kTogether = 4;
  int64_t line = 0;
  for (; line + kTogether <= count; line += kTogether) {
    add_lines<kTogether>(from + line * stride, stride, width, sums);
  }
  for (; line < count; ++line) add_lines<1>(from + line * stride, stride, width, sums);
}

void sum_bfloat16(const Plan&, bool, int64_t count, const float* terms, float* sums) {
  sum_by(AddBfloat16{}, count, terms, sums);
}

template <class Rounder>
void sum_rounded(const Plan& plan, bool flush, int64_t count, const float* terms, float* sums) {
  sum_by(ByVectors<Rounded<Rounder>>{Rounded<Rounder>(plan), flush}, count, terms, sums);
}

template <class Rounder>
void sum_nearest(const Plan& plan, bool, int64_t count, const float* terms, float* sums) {
  sum_by(AddNearest<Rounder>(plan), count, terms, sums);
}

// Calls body(column, sum) for each vector of sums.
template <class Body>
inline void for_sum_columns(float* sums, const Body& body) {
  for (int64_t column = 0; column < kSumWidth; column += kLanes) {
    store(sums + column, body(column, load<Float>(sums + column)));
  }
}

inline Float load_term(const float* terms, int64_t k, int64_t column) {
  return load<Float>(terms + k * kSumWidth + column);
}

// Terms come flushed, as operands do.
void sum_pair(const Plan&, bool, int64_t count, const float* terms, float* sums) {
  for_sum_columns(sums, [&](int64_t column, Float sum) {
    for (int64_t k = 0; k < count; k += 2) {
      const Float both = add_to_odd(load_term(terms, k, column), load_term(terms, k + 1, column));
      sum = add_to_odd(sum, both);
    }
    return sum;
  });
}

void sum_fused_pair(const Plan&, bool, int64_t count, const float* terms, float* sums) {
  for_sum_columns(sums, [&](int64_t column, Float sum) {
    for (int64_t k = 0; k < count; k += 2) {
      sum = sum + (load_term(terms, k, column) + load_term(terms, k + 1, column));
    }
    return sum;
  });
}

void sum_kahan(int64_t count, const float* terms, float* sums, float* lost_parts) {
  for_sum_columns(sums, [&](int64_t column, Float sum) {
    Float lost = load<Float>(lost_parts + column);
    for (int64_t k = 0; k < count; ++k) {
      const Float wanted = load_term(terms, k, column) - lost;
      const Float larger = sum + wanted;
      lost = (larger - sum) - wanted;
      sum = larger;
    }
    store(lost_parts + column, lost);
    return sum;
  });
}

void sum_pairwise(int64_t first, int64_t count, const float* terms, float* waiting) {
  for (int64_t column = 0; column < kSumWidth; column += kLanes) {
    for (int64_t k = 0; k < count; ++k) {
      Float sum = load_term(terms, k, column);
      int level = 0;
      for (; ((first + k) >> level & 1) != 0; ++level) {
        sum = load_term(waiting, level, column) + sum;
      }
      store(waiting + level * kSumWidth + column, sum);
    }
  }
}

void pairwise_total(int64_t count, const float* waiting, float* sums) {
  for_sum_columns(sums, [&](int64_t column, Float) {
    int level = 0;
    while ((count >> level & 1) == 0) ++level;
    Float sum = load_term(waiting, level, column);
    for (++level; count >> level != 0; ++level) {
      if ((count >> level & 1) != 0) sum = load_term(waiting, level, column) + sum;
    }
    return sum;
  });
}

void sum_aligned(const Alignment& alignment, int64_t count, const float* terms, float* sums) {
  const AlignedStep step(alignment);
  for_sum_columns(sums, [&](int64_t column, Float sum) {
    return step(
        count, [&](int64_t) { return spread(1); },
        [&](int64_t k) { return load_term(terms, k, column); },
        [&](int64_t i) {
          return add_aligned(alignment, count, &kOne, 0, terms + column + i, kSumWidth,
                             lane(sum, i));
        },
        sum);
  });
}

template <class Rounder>
void sum_stochastic(const Plan& plan, const SumRandom& random, int64_t count, const float* terms,
                    float* sums) {
  const Rounded<Rounder> step(plan);
  const SumWords source(random.key);
  for_sum_columns(sums, [&](int64_t column, Float sum) {
    Word words[4];
    for (int64_t k = 0; k < count; ++k) {
      const uint64_t rounding = random.rounding + static_cast<uint64_t>(k);
      if (k == 0 || rounding % 4 == 0) {
        source.fill(random.element + static_cast<uint64_t>(column), rounding / 4, words);
      }
      sum = step.round(spread(1), load_term(terms, k, column), sum, words[rounding % 4]);
    }
    return sum;
  });
}

}  // namespace
}  // namespace onnxbf::ONNXBF_INSTRUCTION_SET

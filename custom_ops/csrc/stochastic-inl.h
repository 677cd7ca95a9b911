// Tiles of sums that are rounded stochastically.
//
// Rounding j of sum e (products first, then chunks) takes word j % 4 of Philox's counter
// (e, j / 4, node, step) under the seed: onnxbf/philox.py, accumulator_words. Neighbouring sums are
// neighbouring lanes.
#pragma once

#include "gemm-inl.h"
#include "philox-inl.h"

namespace onnxbf::ONNXBF_INSTRUCTION_SET {
namespace {

class SumWords {
 public:
  explicit SumWords(const RandomKey& key) : node_(all_wide(key.node)), step_(all_wide(key.step)) {
    uint32_t first = static_cast<uint32_t>(key.seed);
    uint32_t second = static_cast<uint32_t>(key.seed >> 32);
    for (int round = 0; round < kRounds; ++round, first += 0x9E3779B9, second += 0xBB67AE85) {
      keys_[round][0] = all_wide(first);
      keys_[round][1] = all_wide(second);
    }
    for (int n = 0; n < kParts; ++n) {
      uint64_t places[kWideLanes];
      for (int64_t i = 0; i < kWideLanes; ++i) places[i] = static_cast<uint64_t>(kParts * i + n);
      places_[n] = load<Wide>(places);
    }
  }

  // Those of roundings [4 quarter, 4 quarter + 4) of the sums from `element` on.
  void fill(uint64_t element, uint64_t quarter, Word words[4]) const {
    Wide parts[2][4] = {};
    ONNXBF_UNROLL
    for (int n = 0; n < kParts; ++n) {
      parts[n][0] = places_[n] + element;
      parts[n][1] = all_wide(quarter);
      parts[n][2] = node_;
      parts[n][3] = step_;
    }
    mix(parts);
    ONNXBF_UNROLL
    for (int w = 0; w < 4; ++w) words[w] = (Word)interleave(parts[0][w], parts[1][w]);
  }

 private:
  static constexpr int kParts = kLanes / kWideLanes;  // even and odd lanes, where there are both

  void mix(Wide (&parts)[2][4]) const {
    const Wide first = all_wide(0xD2511F53), second = all_wide(0xCD9E8D57);
    ONNXBF_UNROLL
    for (int round = 0; round < kRounds; ++round) {
      ONNXBF_UNROLL
      for (int n = 0; n < kParts; ++n) {
        auto& [c0, c1, c2, c3] = parts[n];
        const Wide product0 = multiply_low(c0, first), product1 = multiply_low(c2, second);
        c0 = upper_half(product1) ^ c1 ^ keys_[round][0];
        c2 = upper_half(product0) ^ c3 ^ keys_[round][1];
        c1 = product1;
        c3 = product0;
      }
    }
  }

  Wide keys_[kRounds][2];
  Wide node_, step_;
  Wide places_[kParts];
};

template <class Rounder>
void tile_stochastic(const Plan& plan, const SumRandom& random, int64_t count, const float* a,
                     const float* b, float* sums) {
  const Rounded<Rounder> step(plan);
  const SumWords source(random.key);
  for_sums(sums, [&](int64_t row, int64_t column, Float sum) {
    const uint64_t element = random.element + static_cast<uint64_t>(row * random.row_stride + column);
    Word words[4];
    for (int64_t k = 0; k < count; ++k) {
      const uint64_t rounding = random.rounding + static_cast<uint64_t>(k);
      if (k == 0 || rounding % 4 == 0) source.fill(element, rounding / 4, words);
      const Float right = load<Float>(b + k * kColumns + column);
      sum = step.round(spread(a[k * kRows + row]), right, sum, words[rounding % 4]);
    }
    return sum;
  });
}

template <class Rounder>
void add_stochastic(const Plan& plan, const SumRandom& random, const float* terms, float* sums) {
  const Rounded<Rounder> step(plan);
  const SumWords source(random.key);
  for_sums(sums, [&](int64_t row, int64_t column, Float sum) {
    Word words[4];
    source.fill(random.element + static_cast<uint64_t>(row * random.row_stride + column),
                random.rounding / 4, words);
    const Float term = load<Float>(terms + row * kColumns + column);
    return step.round(spread(1), term, sum, words[random.rounding % 4]);
  });
}

}  // namespace
}  // namespace onnxbf::ONNXBF_INSTRUCTION_SET

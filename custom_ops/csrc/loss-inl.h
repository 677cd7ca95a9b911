// Cross entropy and its gradient (gradients.h), for one instruction set. Sums of a row are RowParts.
#pragma once

#include "norm_gradient-inl.h"

namespace onnxbf::ONNXBF_INSTRUCTION_SET {
namespace {

// 2^26 times e to the power of numbers from -105 to 70, within 2 units in the last place; NaN stays NaN.
// Times 2^-26, it is rounded once more where it is subnormal, and nowhere else.
//
// x = n log(2) + r, and the polynomial is e^r for |r| <= log(2) / 2, but for 2^-28 of it. Its coefficients are
// those of the least largest error that begin with 1 + r, found by linear programming on a grid of 2001
// Chebyshev points: one after the other is rounded to float32, and those that follow are found anew.
constexpr float kRaised = 0x1p26f;
constexpr float kLeastLogarithm = -105.0f, kLargestLogarithm = 70.0f;

inline Float raised_exponential(Float x) {
  constexpr float kTerms[] = {0x1.6a3d0ep-10f, 0x1.123856p-7f, 0x1.5558bep-5f, 0x1.555494p-3f,
                              0x1.fffffcp-2f,  1,              1};
  constexpr int kCount = sizeof kTerms / sizeof(float);
  // Adding it leaves no digits behind the point, and in the lowest bits the exponent of 2^(n + 26).
  constexpr float kToWhole = 0x1.8p23f + 26 + 127;
  const Float shifted = multiply_add(x, spread(0x1.715476p0f), spread(kToWhole), false);
  const Float whole = shifted - spread(kToWhole);
  Float rest = multiply_add(whole, spread(-0x1.62e4p-1f), x, false);  // log(2): 15 digits,
  rest = multiply_add(whole, spread(-0x1.7f7d1cp-20f), rest, false);  // and those that follow
  Float power = spread(kTerms[0]);
  ONNXBF_UNROLL
  for (int i = 1; i < kCount; ++i) power = multiply_add(power, rest, spread(kTerms[i]), false);
  return power * float_of(bits_of(shifted) << 23);
}

// Of what logarithms of probabilities can be, none of which is above 0.
inline Float exponential(Float x) {
  const Float enough = larger_of(spread(kLeastLogarithm), x);
  const Float within = smaller_of(spread(kLargestLogarithm), enough);
  return raised_exponential(within) * spread(1 / kRaised);
}

// NaN is passed over; zero comes out as +0.
inline float largest(const float* numbers, int64_t count) {
  constexpr int64_t kChains = 4;
  Float best[kChains];
  for (Float& one : best) one = spread(-__builtin_inff());
  const auto look_at = [&](int64_t chain, Float next) {
    best[chain] = larger_of(next, best[chain]);
  };
  int64_t i = 0;
  for (; i + kChains * kLanes <= count; i += kChains * kLanes) {
    ONNXBF_UNROLL
    for (int64_t k = 0; k < kChains; ++k) look_at(k, load<Float>(numbers + i + k * kLanes));
  }
  for (; i + kLanes <= count; i += kLanes) look_at(0, load<Float>(numbers + i));
  for (int64_t k = 1; k < kChains; ++k) look_at(0, best[k]);
  float lanes[kLanes];
  store(lanes, best[0]);
  float result = lanes[0];
  for (int64_t k = 1; k < kLanes; ++k) result = lanes[k] > result ? lanes[k] : result;
  for (; i < count; ++i) result = numbers[i] > result ? numbers[i] : result;
  return result + 0.0f;
}

// The logarithm of the sum of e to the power of a row's numbers, less its largest. What is added is read
// from the cache, so that the next row can be asked for meanwhile.
inline float log_of_sum(const float* logits, int64_t width, Float highest) {
  RowParts sums;
  for_parts(width, [&](int64_t i, int64_t part, int64_t count) {
    prefetch(logits + i);
    const Float below = load_up_to(logits + i, count) - highest;
    const Float power = raised_exponential(larger_of(spread(kLeastLogarithm), below));
    sums.lanes[part] = sums.lanes[part] + up_to(power, count);
  });
  return static_cast<float>(__builtin_log(static_cast<double>(sums.total() / kRaised)));
}

void cross_entropy(const LossRows& rows) {
  const float* logits = rows.logits;
  for (int64_t row = 0; row < rows.count; ++row, logits += rows.width) {
    const float highest = largest(logits, rows.width);
    const float logarithm = log_of_sum(logits, rows.width, spread(highest));
    const int64_t label = rows.labels[row];
    rows.losses[row] = label == rows.ignored ? 0.0f : -(logits[label] - highest - logarithm);
    if (rows.largest != nullptr) rows.largest[row] = highest;
    if (rows.log_of_sum != nullptr) rows.log_of_sum[row] = logarithm;
    if (rows.log_probabilities == nullptr) continue;
    float* out = rows.log_probabilities + row * rows.width;
    for_parts(rows.width, [&](int64_t i, int64_t, int64_t count) {
      const Float below = load_up_to(logits + i, count) - spread(highest);
      store_up_to(out + i, below - spread(logarithm), count);
    });
  }
}

void cross_entropy_gradient(const LossGradientRows& rows) {
  const float* from = rows.logits;
  float* dx = rows.dx;
  for (int64_t row = 0; row < rows.count; ++row, from += rows.width, dx += rows.width) {
    const int64_t label = rows.labels[row];
    if (label == rows.ignored) {
      for (int64_t i = 0; i < rows.width; ++i) dx[i] = 0;
      continue;
    }
    const Float highest = spread(rows.largest == nullptr ? 0 : rows.largest[row]);
    const Float logarithm = spread(rows.log_of_sum == nullptr ? 0 : rows.log_of_sum[row]);
    const Float scale = spread(rows.dy[row * rows.dy_step]);
    float chosen[kLanes] = {from[label]};  // read first: dx may be written over it
    const auto probability = [&](Float logits) {
      return exponential(logits - highest - logarithm);
    };
    for_parts(rows.width, [&](int64_t i, int64_t, int64_t count) {
      prefetch(from + i);
      store_up_to(dx + i, probability(load_up_to(from + i, count)) * scale, count);
    });
    store(chosen, (probability(load<Float>(chosen)) - spread(1.0f)) * scale);
    dx[label] = chosen[0];
  }
}

}  // namespace
}  // namespace onnxbf::ONNXBF_INSTRUCTION_SET

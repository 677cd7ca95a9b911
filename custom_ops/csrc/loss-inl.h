// Cross entropy and its gradient (gradients.h), for one instruction set. Sums of a row are RowParts.
#pragma once

#include "norm_gradient-inl.h"

namespace onnxbf::ONNXBF_INSTRUCTION_SET {
namespace {

// NaN stays NaN.
inline Float at_least(Float limit, Float lanes) { return lanes < limit ? limit : lanes; }
inline Float at_most(Float limit, Float lanes) { return lanes > limit ? limit : lanes; }

// 2 to the power of whole numbers from -126 to 127.
inline Float power_of_two(Word exponents) { return float_of((exponents + 127) << 23); }

// e to the power of numbers, within 2 units in the last place; NaN stays NaN. x = n log(2) + r, and
// the polynomial is the Taylor series of e^r, whose rest is below 2^-27 for |r| <= log(2) / 2.
inline Float exponential(Float x) {
  constexpr float kTerms[] = {1.0f / 5040, 1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1, 1};
  constexpr float kToWhole = 0x1.8p23f;  // adding it leaves no digits behind the point
  const Float within = at_most(spread(89.0f), at_least(spread(-105.0f), x));
  const Float shifted = multiply_add(within, spread(0x1.715476p0f), spread(kToWhole), false);
  const Float whole = shifted - spread(kToWhole);
  Float rest = multiply_add(whole, spread(-0x1.62e4p-1f), within, false);  // log(2): 15 digits,
  rest = multiply_add(whole, spread(-0x1.7f7d1cp-20f), rest, false);       // and those that follow
  Float power = spread(kTerms[0]);
  ONNXBF_UNROLL
  for (int i = 1; i < 8; ++i) power = multiply_add(power, rest, spread(kTerms[i]), false);
  const Word exponents = bits_of(shifted) - 0x4B400000;  // those of kToWhole
  const Word half = (Word)((Int)exponents >> 1);  // 2^n in two steps: it may be subnormal
  return power * power_of_two(half) * power_of_two(exponents - half);
}

inline float largest(const float* numbers, int64_t count) {
  Float best = spread(-__builtin_inff());
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const Float next = load<Float>(numbers + i);
    best = next > best ? next : best;
  }
  float lanes[kLanes];
  store(lanes, best);
  float result = lanes[0];
  for (int64_t k = 1; k < kLanes; ++k) result = lanes[k] > result ? lanes[k] : result;
  for (; i < count; ++i) result = numbers[i] > result ? numbers[i] : result;
  return result;
}

void cross_entropy(const LossRows& rows) {
  const float* logits = rows.logits;
  float* out = rows.log_probabilities;
  for (int64_t row = 0; row < rows.count; ++row, logits += rows.width, out += rows.width) {
    const Float highest = spread(largest(logits, rows.width));
    RowParts sums;
    for_parts(rows.width, [&](int64_t i, int64_t part, int64_t count) {
      const Float below = load_up_to(logits + i, count) - highest;
      store_up_to(out + i, below, count);
      sums.lanes[part] = sums.lanes[part] + up_to(exponential(below), count);
    });
    const Float log_of_sum = spread(static_cast<float>(__builtin_log(sums.total())));
    for_parts(rows.width, [&](int64_t i, int64_t, int64_t count) {
      store_up_to(out + i, load_up_to(out + i, count) - log_of_sum, count);
    });
    const int64_t label = rows.labels[row];
    rows.losses[row] = label == rows.ignored ? 0.0f : -out[label];
  }
}

void cross_entropy_gradient(const LossGradientRows& rows) {
  const float* from = rows.log_probabilities;
  float* dx = rows.dx;
  for (int64_t row = 0; row < rows.count; ++row, from += rows.width, dx += rows.width) {
    const int64_t label = rows.labels[row];
    if (label == rows.ignored) {
      for (int64_t i = 0; i < rows.width; ++i) dx[i] = 0;
      continue;
    }
    const float scale = rows.dy[row * rows.dy_step];
    for_parts(rows.width, [&](int64_t i, int64_t, int64_t count) {
      store_up_to(dx + i, exponential(load_up_to(from + i, count)) * spread(scale), count);
    });
    float padded[kLanes] = {from[label]};
    store(padded, (exponential(load<Float>(padded)) - spread(1.0f)) * spread(scale));
    dx[label] = padded[0];
  }
}

}  // namespace
}  // namespace onnxbf::ONNXBF_INSTRUCTION_SET

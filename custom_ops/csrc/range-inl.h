// The loops of range.h, over lanes.
#pragma once

#include "gemm-inl.h"
#include "range.h"

namespace onnxbf::ONNXBF_INSTRUCTION_SET {
namespace {

void span_of(const float* x, int64_t count, float* low, float* high) {
  Float least = spread(x[0]), most = least;
  Word unordered{};
  const auto take = [&](Float numbers) {
    least = numbers < least ? numbers : least;
    most = numbers > most ? numbers : most;
    unordered |= numbers == numbers ? Word{} : all(1);
  };
  const auto body = [&](int64_t i) { take(load<Float>(x + i)); };
  const auto tail = [&](int64_t i, int64_t rest) {
    for (int64_t last = i; last < i + rest; ++last) take(spread(x[last]));
  };
  for_lanes(count, body, tail);
  float lows[kLanes], highs[kLanes];
  uint32_t bad[kLanes];
  store(lows, least);
  store(highs, most);
  store(bad, unordered);
  float first = lows[0], last = highs[0];
  uint32_t any = bad[0];
  for (int64_t lane = 1; lane < kLanes; ++lane) {
    first = lows[lane] < first ? lows[lane] : first;
    last = highs[lane] > last ? highs[lane] : last;
    any |= bad[lane];
  }
  *low = any != 0 ? __builtin_nanf("") : first;
  *high = any != 0 ? __builtin_nanf("") : last;
}

// Of numbers from 0 to 255.
struct ToNearest {
  Float operator()(Float y, int64_t) const {
    const Float large = spread(8388608.0f);  // 2^23: numbers above have no fraction
    return (y + large) - large;
  }
};

// Up with a probability that is the fraction: where that is above 24 random bits.
struct Stochastically {
  Float operator()(Float y, int64_t i) const {
    const Float below = convert<Float>(convert<Int>(y));
    const Float random = convert<Float>((Int)(load<Word>(words + i) >> 8));
    const Float chance = random * spread(0x1p-24f);
    return y - below > chance ? below + spread(1.0f) : below;
  }
  const uint32_t* words;
};

template <class Round>
void affine_by(const Affine& affine, const Round& round, const float* x, float* out,
               int64_t count) {
  const Float low = spread(affine.low), scale = spread(affine.scale);
  const Float zero = spread(affine.zero), bins = spread(affine.bins);
  const auto quantized = [&](Float numbers, int64_t i) {
    const Float y = (numbers - low) * scale + zero;
    const Float above = y > Float{} ? y : Float{};
    const Float within = above < bins ? above : bins;
    return (round(within, i) - zero) / scale + low;
  };
  const auto body = [&](int64_t i) { store(out + i, quantized(load<Float>(x + i), i)); };
  const auto tail = [&](int64_t i, int64_t rest) {
    store_some(out + i, quantized(load_some(x + i, rest), i), rest);
  };
  for_lanes(count, body, tail);
}

void affine_of(const Affine& affine, const uint32_t* words, const float* x, float* out,
               int64_t count) {
  if (words == nullptr) {
    affine_by(affine, ToNearest{}, x, out, count);
  } else {
    affine_by(affine, Stochastically{words}, x, out, count);
  }
}

void project(const float* x, float s, float v, bool first, float* t, int64_t count) {
  const Float scale = spread(s), weight = spread(v);
  const auto next = [&](Float sum, Float numbers) {
    const Float term = weight * (scale * numbers);
    return first ? term : sum + term;
  };
  const auto body = [&](int64_t i) { store(t + i, next(load<Float>(t + i), load<Float>(x + i))); };
  const auto tail = [&](int64_t i, int64_t rest) {
    store_some(t + i, next(load_some(t + i, rest), load_some(x + i, rest)), rest);
  };
  for_lanes(count, body, tail);
}

template <class Of>
void with_projection(const float* x, const float* t, float* out, int64_t count, const Of& of) {
  const auto body = [&](int64_t i) { store(out + i, of(load<Float>(x + i), load<Float>(t + i))); };
  const auto tail = [&](int64_t i, int64_t rest) {
    store_some(out + i, of(load_some(x + i, rest), load_some(t + i, rest)), rest);
  };
  for_lanes(count, body, tail);
}

void reflect(const float* x, float s, float twice, const float* t, float* out, int64_t count) {
  const Float scale = spread(s), weight = spread(twice);
  with_projection(x, t, out, count, [=](Float a, Float b) { return scale * a - weight * b; });
}

void restore(const float* x, float s, float twice, const float* t, float* out, int64_t count) {
  const Float scale = spread(s), weight = spread(twice);
  with_projection(x, t, out, count, [=](Float a, Float b) { return (a - weight * b) * scale; });
}

constexpr RangeKernels range_kernels = {span_of, affine_of, project, reflect, restore};

}  // namespace
}  // namespace onnxbf::ONNXBF_INSTRUCTION_SET

// The loops that round a range of elements.
#pragma once

#include "philox-inl.h"
#include "rounding-inl.h"

namespace onnxbf::ONNXBF_INSTRUCTION_SET {
namespace {

struct ToCache {
  static void put(float* to, Word lanes) { store(to, lanes); }
};

struct PastCache {
  static void put(float* to, Word lanes) { store_past_cache(to, lanes); }
};

// Rounds `count` elements. `words`: of them, from a batch of random words, or NoWords.
template <class Stores, class Rounder, class Words>
inline void round_lanes(const Rounder& shared, const float* in, float* out, int64_t count,
                        const Words& words) {
  const Rounder rounder = shared;  // of our own: no store changes it, so it stays in registers
  const auto body = [&](int64_t i) {
    prefetch(in + i);
    Stores::put(out + i, rounded(rounder, load<Word>(in + i), words, i));
  };
  const auto tail = [&](int64_t i, int64_t rest) {
    const size_t bytes = static_cast<size_t>(rest) * sizeof(float);
    float padded[kLanes] = {};
    __builtin_memcpy(padded, in + i, bytes);
    store(padded, rounded(rounder, load<Word>(padded), words, i));
    __builtin_memcpy(out + i, padded, bytes);
  };
  for_lanes(count, body, tail);
}

template <class Stores, class Rounder>
inline void round_range(const Rounder& rounder, const RandomKey& key, const float* in, float* out,
                        int64_t begin, int64_t end) {
  if constexpr (Rounder::kRandom) {
    for_random(key, begin, end, [&](int64_t i, int64_t count, const RandomWords& words) {
      round_lanes<Stores>(rounder, in + (i - begin), out + (i - begin), count, words);
    });
  } else {
    round_lanes<Stores>(rounder, in, out, end - begin, NoWords{});
  }
}

template <class Rounder>
void round(const Plan& plan, const RandomKey& key, const float* in, float* out, int64_t begin,
           int64_t end, bool past_cache) {
  const Rounder rounder(plan);
  if (past_cache) {
    round_range<PastCache>(rounder, key, in, out, begin, end);
    finish_stores();
  } else {
    round_range<ToCache>(rounder, key, in, out, begin, end);
  }
}

}  // namespace
}  // namespace onnxbf::ONNXBF_INSTRUCTION_SET

// The loops around the lanes, and the table of all kernels of an instruction set.
//
// kernels_<set>.cc includes this file once, after what lanes-inl.h asks for. It is compiled with
// flags that not every CPU understands: so nothing here may come from a template that another file
// instantiates, too (no standard library), lest the linker keep this copy for all.
#pragma once

#include "aligned-inl.h"
#include "block-inl.h"
#include "codes-inl.h"
#include "elementwise-inl.h"
#include "exponential-inl.h"
#include "gemm-inl.h"
#include "gradients-inl.h"
#include "instruction_sets.h"
#include "measure-inl.h"
#include "order-inl.h"
#include "panels-inl.h"
#include "philox-inl.h"
#include "range-inl.h"
#include "rounding-inl.h"
#include "stochastic-inl.h"
#include "sum-inl.h"

namespace onnxbf::ONNXBF_INSTRUCTION_SET {
namespace {

struct ToCache {
  static void put(float* to, Word lanes) { store(to, lanes); }
};

struct PastCache {
  static void put(float* to, Word lanes) { store_past_cache(to, lanes); }
};

// In the place of random words, for modes that draw none.
struct NoWords {
  Word upper(int64_t) const { return Word{}; }
};

// Rounds `count` elements. `words`: of them, from a batch of random words, or NoWords.
template <class Stores, class Rounder, class Words>
inline void round_lanes(const Rounder& shared, const float* in, float* out, int64_t count,
                        const Words& words) {
  const Rounder rounder = shared;  // of our own: no store changes it, so it stays in registers
  const auto rounded = [&](int64_t i, Word bits) {
    const Word random = words.upper(i);
    if constexpr (Rounder::kRandom) {
      const Quick quick = rounder.quick(bits, random);
      return __builtin_expect(quick.doubtful, 0) ? rounder(bits, words.whole(i)) : quick.result;
    } else {
      return rounder(bits, random);
    }
  };
  const auto body = [&](int64_t i) {
    prefetch(in + i);
    Stores::put(out + i, rounded(i, load<Word>(in + i)));
  };
  const auto tail = [&](int64_t i, int64_t rest) {
    const size_t bytes = static_cast<size_t>(rest) * sizeof(float);
    float padded[kLanes] = {};
    __builtin_memcpy(padded, in + i, bytes);
    store(padded, rounded(i, load<Word>(padded)));
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

extern const Kernels kernels;
const Kernels kernels = {
#define ONNXBF_TEXT_(text) #text
#define ONNXBF_TEXT(text) ONNXBF_TEXT_(text)
    ONNXBF_TEXT(ONNXBF_INSTRUCTION_SET),
    {
#define ONNXBF_ROUND(name, rounder) round<rounder>,
#define ONNXBF_CODES(suffix, type)
#include "kernels.inc"
    },
#define ONNXBF_ROUND(name, rounder)
#define ONNXBF_CODES(suffix, type) encode<type>, decode<type>,
#include "kernels.inc"
    random_words,
    measure_rounding,
    measure_update,
    {
        kRows,
        kVectors * kLanes,
        gather,
        tile_float32,
        tile_rows,
        add_tile<Float32>,
        tile_bfloat16,
        chunk_bfloat16,
        {
#define ONNXBF_ROUND(name, rounder) tile_rounded<rounder>,
#define ONNXBF_CODES(suffix, type)
#include "kernels.inc"
        },
        tile_nearest<WideExponent<kNearestEven>>,
        tile_nearest<NarrowExponent<kNearestEven>>,
        {
#define ONNXBF_ROUND(name, rounder) add_tile<Rounded<rounder>>,
#define ONNXBF_CODES(suffix, type)
#include "kernels.inc"
        },
        tile_pair,
        tile_fused_pair,
        tile_pairwise,
        tile_kahan,
        nullptr,
        has_nan,
        tile_aligned,
        tile_stochastic<WideExponent<kStochastic>>,
        tile_stochastic<NarrowExponent<kStochastic>>,
        add_stochastic<WideExponent<kStochastic>>,
        add_stochastic<NarrowExponent<kStochastic>>,
    },
    {
        sum_float32,
        sum_bfloat16,
        {
#define ONNXBF_ROUND(name, rounder) sum_rounded<rounder>,
#define ONNXBF_CODES(suffix, type)
#include "kernels.inc"
        },
        sum_nearest<WideExponent<kNearestEven>>,
        sum_nearest<NarrowExponent<kNearestEven>>,
        sum_pair,
        sum_fused_pair,
        sum_kahan,
        sum_pairwise,
        pairwise_total,
        sum_aligned,
        sum_stochastic<WideExponent<kStochastic>>,
        sum_stochastic<NarrowExponent<kStochastic>>,
        exponentials,
    },
    gradient_kernels,
    step_kernels,
    range_kernels,
    block_kernels,
};

}  // namespace onnxbf::ONNXBF_INSTRUCTION_SET

// Rounding tensors that one factor each brings into the range of a narrow format: found from the
// tensor itself, or from what it was in steps before. onnxbf/scaled_quantizer.py is the
// specification.
//
// Every operation is one of IEEE 754, and the largest magnitude does not depend on an order: the same
// bits on every instruction set and for every number of threads.
#pragma once

#include <cstdint>

#include "kernels.h"
#include "range.h"

namespace onnxbf {

struct ScaledSpec {
  CastSpec cast;         // of the scaled numbers; it saturates
  int32_t history;       // steps whose largest magnitudes decide; 0: this tensor decides
  int32_t most_recent;   // 1: the last of them decides, rather than the largest
  int32_t margin;        // powers of two that are left free, 0 to 15
  int32_t power_of_two;  // 1: factors are powers of two
};

// Why `spec` names no scaled cast, in one sentence; nullptr where it does.
const char* problem(const ScaledSpec& spec);

// Rounds `count` numbers; `in` and `out` may be equal. Of a history, `state` holds the factor, then
// the largest magnitudes of the steps before, newest first, and `next` gets those for the next step,
// unless it is nullptr. Without one, both are nullptr. `tiles`: where to say what rounding made of the
// scaled numbers, one for every kTile; nullptr: nowhere.
void quantize_scaled(const Kernels& kernels, const ScaledSpec& spec, const RandomKey& key,
                     const float* in, float* out, int64_t count, const float* state, float* next,
                     const Tasks& tasks, RoundingTile* tiles = nullptr);

}  // namespace onnxbf

// What operators do to float32 numbers before and after they sum them, in float32. Where the result is NaN,
// it is 0x7FC00000, whatever the CPU's own arithmetic gives.
#pragma once

#include <optional>

#include "float_bits.h"
#include "float_environment.h"
#include "instruction_sets.h"
#include "ops/float_rows.h"
#include "ops/node.h"
#include "sum.h"

namespace onnxbf {

inline float plain_nan(float number) {
  return number == number ? number : float_of(kQuietNan);
}

// Rounds `count` numbers. `from` may be `to`.
inline void round_numbers(const ort::Context& context, const CastSpec& cast, const float* from,
                          float* to, int64_t count) {
  context.parallel(count, [&](int64_t begin, int64_t end) {
    quantize_dequantize(chosen_kernels(), cast, RandomKey{}, from + begin, to + begin, begin, end,
                        count);
  });
}

inline void round_result(const ort::Context& context, const std::optional<CastSpec>& cast, float* y,
                         int64_t count) {
  if (cast) round_numbers(context, *cast, y, y, count);
}

// Calls body(i) for each i of [0, rows), of which each stands for `width` numbers, with IEEE 754's arithmetic.
template <class Body>
void for_rows(const ort::Context& context, int64_t rows, int64_t width, const Body& body) {
  for_some_rows(context, {rows, width}, [&](int64_t first, int64_t count) {
    const FloatEnvironment nearest(false);
    for (int64_t row = first; row < first + count; ++row) body(row);
  });
}

// Calls body(first, count, sum, step) for numbers [first, first + count) of what was summed: number i among
// them is of the sum at sum[i * step].
template <class Body>
void each_with_sum(const ort::Context& context, const SumShape& shape, const float* sums,
                   const Body& body) {
  if (shape.after == 1) {
    return for_rows(context, shape.outer, shape.inner, [&](int64_t row) {
      body(row * shape.inner, shape.inner, sums + row, int64_t{0});
    });
  }
  for_rows(context, shape.outer * shape.inner, shape.after, [&](int64_t row) {
    body(row * shape.after, shape.after, sums + row / shape.inner * shape.after, int64_t{1});
  });
}

}  // namespace onnxbf

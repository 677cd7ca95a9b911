// Which kernel of a table adds to an accumulator that does not round stochastically.
#pragma once

#include "arithmetic.h"
#include "instruction_sets.h"

namespace onnxbf {

inline bool is_bfloat16(const CastSpec& cast) {
  return round_kernel(cast) == round_bf16_rne && cast.flush == 0 && cast.saturate == 0;
}

// `Table`: TileKernels or SumKernels.
template <class Table>
auto rounding_function(const Table& table, const CastSpec& cast) {
  constexpr int32_t kWidestNearest = 12;  // mantissa bits: of fewer dropped, most are doubtful
  if (is_float32(cast)) return table.float32;
  if (is_bfloat16(cast)) return table.bfloat16;
  const RoundKernel rounding = round_kernel(cast);
  if (cast.mantissa_bits > kWidestNearest) return table.rounded[rounding];
  if (rounding == round_wide_rne) return table.nearest_wide;
  return rounding == round_narrow_rne ? table.nearest_narrow : table.rounded[rounding];
}

}  // namespace onnxbf

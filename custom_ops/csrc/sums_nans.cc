// NaNs of sums, as a profile says (see onnxbf/dot.py): found once sums are there.
#include <algorithm>

#include "block_sums.h"
#include "float_bits.h"
#include "float_environment.h"
#include "tdpbf16ps.h"

namespace onnxbf {
bool BlockSums::settle_nans(const Block& block, float* sums) const {
  // The instruction gives the NaN that it gives.
  if ((has_instruction() || has_tiles()) && arithmetic_.keeps_nan) return true;
  const int64_t columns =
      std::min(tiles_.columns, product_.columns - block.column * tiles_.columns);
  for (int64_t row = block.first; row < block.last; ++row, sums += tile_size()) {
    if (!tiles_.has_nan(sums)) continue;
    if (block.b == nullptr && arithmetic_.keeps_nan) return false;
    if (arithmetic_.keeps_nan && arithmetic_.step == kEvenOdd) {
      find_first_nans(block, row, sums);
      continue;
    }
    for (int64_t i = 0; i < rows_of(row); ++i) {
      float* results = sums + i * tiles_.columns;
      for (int64_t j = 0; j < columns; ++j) {
        if (results[j] == results[j]) continue;
        results[j] =
            arithmetic_.keeps_nan ? nan(block, row, i, block.b + j) : float_of(kQuietNan);
      }
    }
  }
  return true;
}

// Number i of a panel of a, of the products that stand at a place.
float BlockSums::left_number(const Block& block, int64_t row, int64_t i, int64_t place) const {
  if (!stands_) return left(block, row, place)[i];
  const Factor& a = product_.a;
  const int64_t k = arithmetic_.step == kOddFirst ? place ^ 1 : place;
  const auto matrix = static_cast<size_t>(a.used[static_cast<size_t>(block.batch)]);
  return a.matrices[matrix][(row * tiles_.rows + i) * a.outer_stride + k];
}

// The NaN, as VDPBF16PS gives it, that a sum of a row and a column ends with: see onnxbf/dot.py.
float BlockSums::nan(const Block& block, int64_t row, int64_t i, const float* b) const {
  for (int64_t k = depth_ - 2; k >= 0; k -= 2) {
    for (int64_t of_pair : {1, 0}) {  // of a pair, the even element stands second
      const float left = left_number(block, row, i, k + of_pair);
      const float right = b[(k + of_pair) * tiles_.columns];
      if (left != left) return quiet(left);
      if (right != right) return quiet(right);
    }
  }
  return float_of(kQuietNan | kSign);
}

// The NaNs of TDPBF16PS: a sum keeps that of the chunk which made it one. The sums of a tile are worked out once more
// to find that chunk.
void BlockSums::find_first_nans(const Block& block, int64_t row, float* sums) const {
  const Block tile{block.batch, row, row + 1, block.column, block.b};
  alignas(64) float again[kLargestBlock], inner[kLargestBlock];
  std::fill_n(again, tile_size(), 0.0f);
  bool found[kLargestBlock] = {};
  for (int64_t start = 0; start < depth_; start += chunk_) {
    const int64_t count = std::min(chunk_, depth_ - start);
    std::fill_n(inner, tile_size(), 0.0f);
    {
      const FloatEnvironment environment(arithmetic_.flush);
      add_products(tile, start, start + count, inner);
      add(random(tile, row, 0), inner, again);
    }
    const float* a = left(tile, row, start);
    const float* b = block.b + start * tiles_.columns;
    for (int64_t i = 0; i < tile_size(); ++i) {
      if (again[i] == again[i] || found[i]) continue;
      found[i] = true;
      sums[i] = nan_of_chunk(count, a + i / tiles_.columns, tiles_.rows, b + i % tiles_.columns,
                             tiles_.columns);
    }
  }
}

}  // namespace onnxbf

#include "block_sums.h"

#include <algorithm>

#include "choose_kernel.h"
#include "exact.h"
#include "float_environment.h"

namespace onnxbf {

BlockSums::BlockSums(const Kernels& kernels, const Arithmetic& arithmetic, const Product& product)
    : kernels_(kernels),
      tiles_(kernels.tiles),
      arithmetic_(arithmetic),
      product_(product),
      depth_(Packing::depth_of(arithmetic, product.inner, right_form())),
      chunk_(arithmetic.chunk_of(product.inner)),
      plan_(make_plan(arithmetic.accumulator)),
      outer_plan_(make_plan(arithmetic.outer)) {}

Packing::Form BlockSums::left_form() const {
  return has_tiles() ? Packing::kPairRows : right_form();
}

// The kernels that round by adding half a place count on NaNs whose payload does not carry.
Packing::Form BlockSums::right_form() const {
  if (has_tiles()) return Packing::kPairPanels;
  if (has_instruction()) return Packing::kPairs;
  const bool rounds = !is_float32(arithmetic_.accumulator) || !is_float32(arithmetic_.outer);
  return rounds ? Packing::kCleanFloats : Packing::kFloats;
}

// Whether the CPU has an instruction that adds two products as the profile says.
bool BlockSums::has_instruction() const {
  return arithmetic_.step == kOddFirst && tiles_.bfloat16_pairs != nullptr;
}

// The panel of a from a product on.
const float* BlockSums::left(const Block& block, int64_t row, int64_t product) const {
  return a_->at(product_.a.used[static_cast<size_t>(block.batch)], row, product);
}

SumRandom BlockSums::random(const Block& block, int64_t row, int64_t rounding) const {
  const int64_t first_row = block.batch * product_.rows + row * tiles_.rows;
  const int64_t element = first_row * product_.columns + block.column * tiles_.columns;
  return {product_.random, static_cast<uint64_t>(element), product_.columns,
          static_cast<uint64_t>(rounding)};
}

uint32_t BlockSums::compute(const Block& block, float* sums) const {
  if (stands_ && arithmetic_.chunk == 0 && depth_ > 0) return add_standing(block, 0, depth_, sums);
  std::fill_n(sums, (block.last - block.first) * tile_size(), 0.0f);
  if (has_tiles()) {
    add_tiles(block, sums);
  } else if (adds_to_bfloat16()) {
    add_short_chunks(block, sums);
  } else {
    arithmetic_.chunk == 0 ? add_products(block, 0, depth_, sums) : add_chunks(block, sums);
  }
  return kUnknownMagnitude;
}

// Adds the products [begin, end) to the sums of all tiles, those of a part at a time.
void BlockSums::add_products(const Block& block, int64_t begin, int64_t end, float* sums) const {
  if (stands_) {
    add_standing(block, begin, end, sums);
    return;
  }
  const int64_t length = is_divisible_step() ? kDepthBlock : std::max<int64_t>(end - begin, 1);
  for (int64_t start = begin; start < end; start += length) {
    if (has_instruction()) {
      add_pairs(block, start, std::min(length, end - start), sums);
      continue;
    }
    const float* b = block.b + (start - block.begin) * tiles_.columns;
    for (int64_t row = block.first; row < block.last; ++row) {
      add_part(random(block, row, start), rows_of(row), std::min(length, end - start),
               left(block, row, start), b,
               sums + (row - block.first) * tile_size());
    }
  }
}

bool BlockSums::may_stand() const {
  return is_divisible_step() && !has_instruction() && !adds_to_bfloat16() &&
         kernel() == tiles_.float32 && product_.b.images == nullptr && a_->may_stand();
}

// The largest magnitude is that of sums that end.
uint32_t BlockSums::add_standing(const Block& block, int64_t begin, int64_t end,
                                 float* sums) const {
  const Factor& a = product_.a;
  const auto matrix = static_cast<size_t>(a.used[static_cast<size_t>(block.batch)]);
  const float* from = a.matrices[matrix];
  uint32_t largest = 0;
  for (int64_t start = begin; start < end; start += kDepthBlock) {
    const int64_t stop = std::min(start + kDepthBlock, end);
    StandingTile tile{};
    tile.count = stop - start;
    tile.odd_first = arithmetic_.step == kOddFirst;
    tile.flush = arithmetic_.flush;
    tile.starts = start == 0;
    tile.ends = stop == depth_;
    tile.a_row = a.outer_stride;
    tile.b = block.b + (start - block.begin) * tiles_.columns;
    tile.ahead = block.ahead->places();
    for (int64_t row = block.first; row < block.last; ++row) {
      tile.rows = rows_of(row);
      tile.a = from + row * tiles_.rows * a.outer_stride + start;
      tile.sums = sums + (row - block.first) * tile_size();
      largest = std::max(largest, tiles_.standing(tile));
    }
  }
  return largest;
}

void BlockSums::ask_ahead(const Block& block, Ahead& ahead) const {
  const Factor& a = product_.a;
  const int64_t first = block.last * tiles_.rows;
  const int64_t rows = std::min((block.last - block.first) * tiles_.rows, product_.rows - first);
  if (rows <= 0 || a.outer_stride != product_.inner) return;
  const int64_t floats = rows * a.outer_stride, step = 2 * kCacheLine;
  const int64_t panels = divide_up(product_.columns, tiles_.columns);
  const int64_t begin = floats * block.column / panels / step;
  const int64_t end = divide_up(floats * (block.column + 1) / panels, step);
  const auto matrix = static_cast<size_t>(a.used[static_cast<size_t>(block.batch)]);
  ahead.add(a.matrices[matrix] + first * a.outer_stride + begin * step, step, end - begin);
}

bool BlockSums::is_direct() const {
  return is_divisible() && !has_instruction() && kernel() == tiles_.float32;
}

void BlockSums::add_direct(const Block& block, int64_t begin, int64_t count, const float* image,
                           const int64_t* inner, const DirectColumns& columns,
                           float* sums) const {
  for (int64_t row = block.first; row < block.last; ++row, sums += tile_size()) {
    tiles_.direct(rows_of(row), arithmetic_.flush, count, left(block, row, begin),
                  image, inner, columns, sums);
  }
}

void BlockSums::add_pairs(const Block& block, int64_t first, int64_t count, float* sums) const {
  const auto pairs = [](const float* panel) { return reinterpret_cast<const uint32_t*>(panel); };
  const uint32_t* b = pairs(block.b) + (first - block.begin) / 2 * tiles_.columns;
  for (int64_t row = block.first; row < block.last; ++row) {
    const uint32_t* a = pairs(left(block, row, first));
    tiles_.bfloat16_pairs(count / 2, a, b, sums + (row - block.first) * tile_size());
  }
}

void BlockSums::add_tiles(const Block& block, float* sums) const {
  const auto pairs = [](const float* panel) { return reinterpret_cast<const uint32_t*>(panel); };
  const int64_t first = block.first * tiles_.rows;
  const int64_t rows = std::min(block.last * tiles_.rows, product_.rows) - first;
  tiles_.pair_tiles->add(rows, depth_ / 2, pairs(left(block, block.first, 0)), a_->row_words(),
                         pairs(block.b), sums);
}

// So many that a core's own cache holds them beside the rows of a block; else all.
int64_t BlockSums::columns_together() const {
  constexpr int64_t kHeldPairs = 1 << 17;
  const int64_t all = divide_up(product_.columns, tiles_.columns);
  if (!has_tiles()) return all;
  return std::clamp<int64_t>(kHeldPairs / (depth_ / 2 * tiles_.columns + 1), 1, all);
}

void BlockSums::add_chunks(const Block& block, float* sums) const {
  const int64_t tiles = block.last - block.first;
  alignas(64) float inner[kLargestBlock];
  for (int64_t start = 0; start < depth_; start += chunk_) {
    std::fill_n(inner, tiles * tile_size(), 0.0f);
    add_products(block, start, std::min(start + chunk_, depth_), inner);
    for (int64_t i = 0; i < tiles; ++i) {
      const int64_t rounding = product_.inner + start / chunk_;
      add(random(block, block.first + i, rounding), inner + i * tile_size(),
          sums + i * tile_size());
    }
  }
}

// Whether one kernel does all that there is to do with a chunk.
bool BlockSums::adds_to_bfloat16() const {
  return arithmetic_.chunk != 0 && chunk_ <= kDepthBlock && arithmetic_.step == kFma &&
         is_float32(arithmetic_.accumulator) && is_bfloat16(arithmetic_.outer);
}

void BlockSums::add_short_chunks(const Block& block, float* sums) const {
  for (int64_t start = 0; start < depth_; start += chunk_) {
    for (int64_t row = block.first; row < block.last; ++row) {
      tiles_.chunk_bfloat16(plan_, false, std::min(chunk_, depth_ - start),
                            left(block, row, start),
                            block.b + start * tiles_.columns,
                            sums + (row - block.first) * tile_size());
    }
  }
}

// Adds a chunk's sums to the sums of chunks.
void BlockSums::add(const SumRandom& random, const float* terms, float* sums) const {
  const CastSpec& cast = arithmetic_.outer;
  if (cast.rounding == kStochastic) {
    const bool wide = round_kernel(cast) == round_wide_sr;
    (wide ? tiles_.add_stochastic_wide : tiles_.add_stochastic_narrow)(outer_plan_, random, terms,
                                                                       sums);
    return;
  }
  const AddFunction function =
      is_float32(cast) ? tiles_.add_float32 : tiles_.add_rounded[round_kernel(cast)];
  function(outer_plan_, arithmetic_.flush, terms, sums);
}

// Adds `count` products to the sums of a tile.
void BlockSums::add_part(const SumRandom& random, int64_t rows, int64_t count, const float* a,
              const float* b, float* sums) const {
  if (arithmetic_.step == kExact) return exact(count, a, b, sums);
  if (arithmetic_.step == kAligned) return aligned(count, a, b, sums);
  if (arithmetic_.accumulator.rounding == kStochastic) {
    const bool wide = round_kernel(arithmetic_.accumulator) == round_wide_sr;
    (wide ? tiles_.stochastic_wide : tiles_.stochastic_narrow)(plan_, random, count, a, b, sums);
    return;
  }
  const TileFunction function = kernel();
  if (function == tiles_.float32 && is_divisible_step() && rows < tiles_.rows) {
    tiles_.float32_rows(rows, arithmetic_.flush, count, a, b, sums);
    return;
  }
  if (arithmetic_.step != kEvenOdd) {
    function(plan_, arithmetic_.flush, count, a, b, sums);
    return;
  }
  alignas(64) float odd[kLargestBlock] = {};
  const int64_t half = count / 2;
  function(plan_, arithmetic_.flush, half, a, b, sums);
  function(plan_, arithmetic_.flush, half, a + half * tiles_.rows, b + half * tiles_.columns, odd);
  tiles_.add_float32(plan_, arithmetic_.flush, odd, sums);
}

TileFunction BlockSums::kernel() const {
  switch (arithmetic_.step) {
    case kPair:
      return tiles_.pair;
    case kFusedPair:
      return tiles_.fused_pair;
    case kPairwise:
      return tiles_.pairwise;
    case kKahan:
      return tiles_.kahan;
    default:
      return rounding_function(tiles_, arithmetic_.accumulator);
  }
}

void BlockSums::exact(int64_t count, const float* a, const float* b, float* sums) const {
  for (int64_t i = 0; i < tiles_.rows; ++i) {
    for (int64_t j = 0; j < tiles_.columns; ++j) {
      ExactSum sum;
      for (int64_t k = 0; k < count; ++k) {
        sum.add(a[k * tiles_.rows + i], b[k * tiles_.columns + j]);
      }
      sums[i * tiles_.columns + j] = sum.round();
    }
  }
}

void BlockSums::aligned(int64_t count, const float* a, const float* b, float* sums) const {
  const CastSpec& operands = *arithmetic_.operands;
  const bool rounds = !cuts_off(arithmetic_.accumulator);
  const int32_t least_exponent = 2 - (1 << (operands.exponent_bits - 1));
  const Alignment alignment{arithmetic_.bits, least_exponent, rounds};
  for (int64_t start = 0; start < count; start += arithmetic_.group) {
    const int64_t length = std::min(arithmetic_.group, count - start);
    tiles_.aligned(alignment, length, a + start * tiles_.rows, b + start * tiles_.columns, sums);
    if (rounds) {
      quantize_dequantize(kernels_, arithmetic_.accumulator, RandomKey{}, sums, sums, 0,
                          tile_size(), 0);
    }
  }
}

}  // namespace onnxbf

#include "gemm.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "exact.h"
#include "float_environment.h"
#include "pack.h"

namespace onnxbf {
namespace {

constexpr int64_t kRowBlock = 96;     // rows of a task: several tiles, that one panel of b serves
constexpr int64_t kDepthBlock = 192;  // products that they take in turn: what the nearest cache holds
constexpr int32_t kWidestNearest = 12;  // mantissa bits
constexpr int64_t kLargestBlock = kRowBlock * 32;  // sums of a task
constexpr int64_t kFewPanels = 8;     // with so many, or fewer, of b, tasks are made as small as can be

float float_of(uint32_t bits) {
  float number;
  std::memcpy(&number, &bits, sizeof number);
  return number;
}

class Multiplication {
 public:
  Multiplication(const Kernels& kernels, const Arithmetic& arithmetic, const Product& product)
      : kernels_(kernels),
        tiles_(kernels.tiles),
        arithmetic_(arithmetic),
        product_(product),
        depth_(arithmetic.depth_of(product.inner)),
        chunk_(arithmetic.chunk_of(product.inner)),
        plan_(make_plan(arithmetic.accumulator)),
        outer_plan_(make_plan(arithmetic.outer)),
        a_(kernels, arithmetic, product.a, product.rows, product.inner, tiles_.rows, form(), false),
        right_panels_(batch() * ((product.columns + tiles_.columns - 1) / tiles_.columns)),
        late_(product.b.gather != nullptr && right_panels_ > kFewPanels),
        b_(kernels, arithmetic, product.b, product.columns, product.inner, tiles_.columns, form(),
           late_) {}

  void run(const ParallelFor& parallel) {
    parallel(a_.tasks() + b_.tasks(), [&](int64_t i) {
      const FloatEnvironment nearest(false);
      i < a_.tasks() ? a_.run(i) : b_.run(i - a_.tasks());
    });
    const int64_t largest = kRowBlock / tiles_.rows;
    if (late_) {
      parallel(right_panels_, [&](int64_t i) { compute_late(i, largest); });
      return;
    }
    const int64_t tiles_of_block = right_panels_ > kFewPanels ? largest : 1;
    const int64_t row_blocks = (a_.panels() + tiles_of_block - 1) / tiles_of_block;
    parallel(right_panels_ * row_blocks, [&](int64_t i) {
      // Neighbouring tasks read the same rows of a, which a nearer cache holds than all of b.
      const int64_t column = i % b_.panels(), first = i / b_.panels() % row_blocks * tiles_of_block;
      const int64_t last = std::min(first + tiles_of_block, a_.panels());
      const int64_t batch = i / b_.panels() / row_blocks;
      compute({batch, first, last, column, b_.panel(used(product_.b, batch), column)});
    });
  }

 private:
  int64_t batch() const { return static_cast<int64_t>(product_.a.used.size()); }

  // All products of a panel of b, which exists no longer than that.
  void compute_late(int64_t index, int64_t tiles_of_block) const {
    const int64_t batch = index / b_.panels(), column = index % b_.panels();
    const Panels own(1, b_.panel_floats());
    {
      const FloatEnvironment nearest(false);
      b_.fill(used(product_.b, batch), column, own[0]);
    }
    for (int64_t first = 0; first < a_.panels(); first += tiles_of_block) {
      compute({batch, first, std::min(first + tiles_of_block, a_.panels()), column, own[0]});
    }
  }

  // The kernels that round by adding half a place count on NaNs whose payload does not carry.
  Packing::Form form() const {
    if (has_instruction()) return Packing::kPairs;
    const bool rounds = !is_float32(arithmetic_.accumulator) || !is_float32(arithmetic_.outer);
    return rounds ? Packing::kCleanFloats : Packing::kFloats;
  }

  // Whether the CPU has an instruction that adds two products as the profile says.
  bool has_instruction() const {
    return arithmetic_.step == kOddFirst && tiles_.bfloat16_pairs != nullptr;
  }

  static bool is_bfloat16(const CastSpec& cast) {
    return round_kernel(cast) == round_bf16_rne && cast.flush == 0 && cast.saturate == 0;
  }

  void round(const CastSpec& cast, float* numbers, int64_t count) const {
    quantize_dequantize(kernels_, cast, RandomKey{}, numbers, numbers, 0, count, 0);
  }

  // Tiles of one product of the batch, one below the other.
  struct Block {
    int64_t batch, first, last, column;  // panels
    const float* b;                      // that of `column`
  };

  void compute(const Block& block) const {
    alignas(64) float sums[kLargestBlock];
    std::fill_n(sums, (block.last - block.first) * tile_size(), 0.0f);
    {
      const FloatEnvironment environment(arithmetic_.flush);
      if (adds_to_bfloat16()) {
        add_short_chunks(block, sums);
      } else {
        arithmetic_.chunk == 0 ? add_products(block, 0, depth_, sums) : add_chunks(block, sums);
      }
    }
    const FloatEnvironment nearest(false);
    for (int64_t row = block.first; row < block.last; ++row) {
      finish(block, row, sums + (row - block.first) * tile_size());
    }
  }

  int64_t tile_size() const { return tiles_.rows * tiles_.columns; }

  static int64_t used(const Factor& factor, int64_t batch) {
    return factor.used[static_cast<size_t>(batch)];
  }
  const float* left(const Block& block, int64_t row) const {
    return a_.panel(used(product_.a, block.batch), row);
  }

  SumRandom random(const Block& block, int64_t row, int64_t rounding) const {
    const int64_t first_row = block.batch * product_.rows + row * tiles_.rows;
    const int64_t element = first_row * product_.columns + block.column * tiles_.columns;
    return {product_.random, static_cast<uint64_t>(element), product_.columns,
            static_cast<uint64_t>(rounding)};
  }

  // Adds the products [begin, end) to the sums of all tiles, those of a part at a time.
  void add_products(const Block& block, int64_t begin, int64_t end, float* sums) const {
    const bool is_divisible = arithmetic_.step == kFma || arithmetic_.step == kOddFirst;
    const int64_t length = is_divisible ? kDepthBlock : std::max<int64_t>(end - begin, 1);
    for (int64_t start = begin; start < end; start += length) {
      if (has_instruction()) {
        add_pairs(block, start / 2, std::min(length, end - start) / 2, sums);
        continue;
      }
      const float* b = block.b + start * tiles_.columns;
      for (int64_t row = block.first; row < block.last; ++row) {
        add_part(random(block, row, start), std::min(length, end - start),
                 left(block, row) + start * tiles_.rows, b,
                 sums + (row - block.first) * tile_size());
      }
    }
  }

  void add_pairs(const Block& block, int64_t first, int64_t count, float* sums) const {
    const auto pairs = [](const float* panel) { return reinterpret_cast<const uint32_t*>(panel); };
    const uint32_t* b = pairs(block.b) + first * tiles_.columns;
    for (int64_t row = block.first; row < block.last; ++row) {
      const uint32_t* a = pairs(left(block, row)) + first * tiles_.rows;
      tiles_.bfloat16_pairs(count, a, b, sums + (row - block.first) * tile_size());
    }
  }

  void add_chunks(const Block& block, float* sums) const {
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
  bool adds_to_bfloat16() const {
    return arithmetic_.chunk != 0 && chunk_ <= kDepthBlock && arithmetic_.step == kFma &&
           is_float32(arithmetic_.accumulator) && is_bfloat16(arithmetic_.outer);
  }

  void add_short_chunks(const Block& block, float* sums) const {
    for (int64_t start = 0; start < depth_; start += chunk_) {
      for (int64_t row = block.first; row < block.last; ++row) {
        tiles_.chunk_bfloat16(plan_, false, std::min(chunk_, depth_ - start),
                              left(block, row) + start * tiles_.rows,
                              block.b + start * tiles_.columns,
                              sums + (row - block.first) * tile_size());
      }
    }
  }

  // From the sums of a tile to the results in memory.
  void finish(const Block& block, int64_t row_panel, float* sums) const {
    const int64_t first_row = row_panel * tiles_.rows;
    const int64_t first_column = block.column * tiles_.columns;
    const int64_t rows = std::min(tiles_.rows, product_.rows - first_row);
    const int64_t columns = std::min(tiles_.columns, product_.columns - first_column);
    // The instruction gives the NaN that it gives.
    const bool is_right = has_instruction() && arithmetic_.keeps_nan;
    if (!is_right && tiles_.has_nan(sums)) replace_nans(block, row_panel, rows, columns, sums);
    for (int64_t i = 0; i < rows; ++i) {
      float* results = sums + i * tiles_.columns;
      if (arithmetic_.result) round(*arithmetic_.result, results, columns);
      scale(results, block.batch, first_row + i, first_column, columns);
      if (product_.result) round(*product_.result, results, columns);
      const int64_t row = block.batch * product_.rows + first_row + i;
      std::copy_n(results, columns, product_.out + row * product_.columns + first_column);
    }
  }

  void replace_nans(const Block& block, int64_t row_panel, int64_t rows, int64_t columns,
                    float* sums) const {
    for (int64_t i = 0; i < rows; ++i) {
      float* results = sums + i * tiles_.columns;
      for (int64_t j = 0; j < columns; ++j) {
        if (results[j] == results[j]) continue;
        results[j] = nan(left(block, row_panel) + i, block.b + j);
      }
    }
  }

  // Adds a chunk's sums to the sums of chunks.
  void add(const SumRandom& random, const float* terms, float* sums) const {
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
  void add_part(const SumRandom& random, int64_t count, const float* a, const float* b,
                float* sums) const {
    if (arithmetic_.step == kExact) return exact(count, a, b, sums);
    if (arithmetic_.step == kAligned) return aligned(count, a, b, sums);
    if (arithmetic_.accumulator.rounding == kStochastic) {
      const bool wide = round_kernel(arithmetic_.accumulator) == round_wide_sr;
      (wide ? tiles_.stochastic_wide : tiles_.stochastic_narrow)(plan_, random, count, a, b, sums);
      return;
    }
    const TileFunction function = kernel();
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

  TileFunction kernel() const {
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
        break;
    }
    const CastSpec& cast = arithmetic_.accumulator;
    if (is_float32(cast)) return tiles_.float32;
    if (is_bfloat16(cast)) return tiles_.bfloat16;
    const RoundKernel rounding = round_kernel(cast);
    // Where few bits are dropped, most sums would be looked at again.
    if (cast.mantissa_bits > kWidestNearest) return tiles_.rounded[rounding];
    if (rounding == round_wide_rne) return tiles_.nearest_wide;
    return rounding == round_narrow_rne ? tiles_.nearest_narrow : tiles_.rounded[rounding];
  }

  void exact(int64_t count, const float* a, const float* b, float* sums) const {
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

  void aligned(int64_t count, const float* a, const float* b, float* sums) const {
    const CastSpec& operands = *arithmetic_.operands;
    const bool rounds = !cuts_off(arithmetic_.accumulator);
    const int32_t least_exponent = 2 - (1 << (operands.exponent_bits - 1));
    const Alignment alignment{arithmetic_.bits, least_exponent, rounds};
    for (int64_t start = 0; start < count; start += arithmetic_.group) {
      const int64_t length = std::min(arithmetic_.group, count - start);
      tiles_.aligned(alignment, length, a + start * tiles_.rows, b + start * tiles_.columns, sums);
      if (rounds) round(arithmetic_.accumulator, sums, tiles_.rows * tiles_.columns);
    }
  }

  // The NaN that a sum of a row and a column ends with: see onnxbf/dot.py.
  float nan(const float* a, const float* b) const {
    if (!arithmetic_.keeps_nan) return float_of(kQuietNan);
    for (int64_t k = depth_ - 2; k >= 0; k -= 2) {
      for (int64_t of_pair : {1, 0}) {  // of a pair, the even element stands second
        const float left = a[(k + of_pair) * tiles_.rows];
        const float right = b[(k + of_pair) * tiles_.columns];
        if (left != left) return left;
        if (right != right) return right;
      }
    }
    return float_of(kQuietNan | kSign);
  }

  void scale(float* results, int64_t batch, int64_t row, int64_t first_column,
             int64_t columns) const {
    const auto& [alpha, beta] = std::pair(product_.alpha, product_.beta);
    for (int64_t j = 0; j < columns && alpha != 1; ++j) results[j] *= alpha;
    if (product_.c == nullptr) return;
    const float* c = product_.c + row * product_.c_row_stride;
    if (!product_.c_first.empty()) c += product_.c_first[static_cast<size_t>(batch)];
    for (int64_t j = 0; j < columns; ++j) {
      const float term = c[(first_column + j) * product_.c_column_stride];
      results[j] += beta != 1 ? beta * term : term;
    }
  }

  const Kernels& kernels_;
  const TileKernels& tiles_;
  const Arithmetic& arithmetic_;
  const Product& product_;
  int64_t depth_;  // products of each sum, those that fill up a pair among them
  int64_t chunk_;
  Plan plan_, outer_plan_;
  Packing a_;
  int64_t right_panels_;  // of b, in all products of the batch
  bool late_;             // whether they are packed one by one
  Packing b_;
};

}  // namespace

void multiply(const Kernels& kernels, const Arithmetic& arithmetic, const Product& product,
              const ParallelFor& parallel) {
  if (product.rows == 0 || product.columns == 0 || product.a.used.empty()) return;
  Multiplication(kernels, arithmetic, product).run(parallel);
}

}  // namespace onnxbf

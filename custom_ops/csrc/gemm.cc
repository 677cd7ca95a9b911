#include "gemm.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include "exact.h"
#include "float_environment.h"

namespace onnxbf {
namespace {

constexpr int64_t kRowBlock = 96;  // rows of a task: several tiles, that one panel of b serves

float float_of(uint32_t bits) {
  float number;
  std::memcpy(&number, &bits, sizeof number);
  return number;
}

int64_t divide_up(int64_t number, int64_t by) { return (number + by - 1) / by; }

// Memory for panels, aligned to whole vectors, without the cost of setting it.
class Panels {
 public:
  Panels(int64_t count, int64_t floats)
      : stride_(divide_up(floats, 16) * 16),
        memory_(new float[static_cast<size_t>(count * stride_ + 16)]),
        first_(memory_.get() + (64 - reinterpret_cast<uintptr_t>(memory_.get()) % 64) / 4) {}
  float* operator[](int64_t i) const { return first_ + i * stride_; }

 private:
  int64_t stride_;
  std::unique_ptr<float[]> memory_;
  float* first_;
};

class Multiplication {
 public:
  Multiplication(const Kernels& kernels, const Arithmetic& arithmetic, const Product& product)
      : kernels_(kernels),
        tiles_(kernels.tiles),
        arithmetic_(arithmetic),
        product_(product),
        depth_(arithmetic.by_twos() ? product.inner + product.inner % 2 : product.inner),
        chunk_(arithmetic.chunk_of(product.inner)),
        plan_(make_plan(arithmetic.accumulator)),
        outer_plan_(make_plan(arithmetic.outer)),
        row_panels_(divide_up(product.rows, tiles_.rows)),
        column_panels_(divide_up(product.columns, tiles_.columns)),
        a_(panels(product.a) * row_panels_, depth_ * tiles_.rows),
        b_(panels(product.b) * column_panels_, depth_ * tiles_.columns) {}

  void run(const ParallelFor& parallel) {
    const int64_t a_count = panels(product_.a) * row_panels_;
    const int64_t b_count = panels(product_.b) * column_panels_;
    parallel(a_count + b_count, [&](int64_t i) {
      const FloatEnvironment nearest(false);
      if (i < a_count) {
        pack(product_.a, i, row_panels_, product_.rows, tiles_.rows, a_[i]);
      } else {
        pack(product_.b, i - a_count, column_panels_, product_.columns, tiles_.columns,
             b_[i - a_count]);
      }
    });
    const int64_t tiles_of_block = std::max<int64_t>(kRowBlock / tiles_.rows, 1);
    const int64_t row_blocks = divide_up(row_panels_, tiles_of_block);
    const int64_t batch = static_cast<int64_t>(product_.a.used.size());
    parallel(batch * column_panels_ * row_blocks, [&](int64_t i) {
      const int64_t first = i % row_blocks * tiles_of_block;
      const int64_t last = std::min(first + tiles_of_block, row_panels_);
      const int64_t column = i / row_blocks % column_panels_;
      for (int64_t row = first; row < last; ++row) {
        tile(i / row_blocks / column_panels_, row, column);
      }
    });
  }

 private:
  static int64_t panels(const Factor& factor) {
    return static_cast<int64_t>(factor.matrices.size());
  }

  // Where product `k` of a sum stands in a panel.
  int64_t place(int64_t k) const {
    if (arithmetic_.step == kOddFirst) return k ^ 1;
    if (arithmetic_.step != kEvenOdd) return k;
    const int64_t start = k / chunk_ * chunk_;
    const int64_t length = std::min(chunk_, depth_ - start);
    return start + (k - start) / 2 + (k % 2 != 0 ? length / 2 : 0);
  }

  // Brings `width` rows of a (columns of b) into the order in which kernels read them.
  void pack(const Factor& factor, int64_t index, int64_t per_matrix, int64_t size, int64_t width,
            float* panel) const {
    const int64_t first = index % per_matrix * width;
    const int64_t count = std::min(width, size - first);
    const float* from = factor.matrices[static_cast<size_t>(index / per_matrix)] +
                        first * factor.outer_stride;
    if (count < width || depth_ != product_.inner) {
      std::fill(panel, panel + depth_ * width, 0.0f);
    }
    if (factor.inner_stride == 1 || factor.outer_stride != 1) {
      for (int64_t i = 0; i < count; ++i) {
        for (int64_t k = 0; k < product_.inner; ++k) {
          panel[place(k) * width + i] = from[i * factor.outer_stride + k * factor.inner_stride];
        }
      }
    } else {
      for (int64_t k = 0; k < product_.inner; ++k) {
        std::copy_n(from + k * factor.inner_stride, count, panel + place(k) * width);
      }
    }
    if (factor.cast) round(*factor.cast, panel, depth_ * width);
    if (arithmetic_.operands) round(*arithmetic_.operands, panel, depth_ * width);
    for (int64_t i = 0; i < depth_ * width; ++i) {
      float number = panel[i];
      if (arithmetic_.denormals_in_are_zero && std::fabs(number) < 0x1p-126f) number *= 0.0f;
      if (!arithmetic_.keeps_nan && number != number) number = float_of(kQuietNan);
      panel[i] = number;
    }
  }

  void round(const CastSpec& cast, float* numbers, int64_t count) const {
    quantize_dequantize(kernels_, cast, RandomKey{}, numbers, numbers, 0, count, 0);
  }

  // One tile of one product of the batch, from its sums to the results in memory.
  void tile(int64_t batch, int64_t row_panel, int64_t column_panel) const {
    const size_t which = static_cast<size_t>(batch);
    const float* a = a_[product_.a.used[which] * row_panels_ + row_panel];
    const float* b = b_[product_.b.used[which] * column_panels_ + column_panel];
    alignas(64) float sums[kLargestTile];
    {
      const FloatEnvironment environment(arithmetic_.flush);
      const int64_t row = batch * product_.rows + row_panel * tiles_.rows;
      const int64_t first = row * product_.columns + column_panel * tiles_.columns;
      const SumRandom random{product_.random, static_cast<uint64_t>(first), product_.columns, 0};
      sum(random, a, b, sums);
    }
    const FloatEnvironment nearest(false);
    const int64_t first_row = row_panel * tiles_.rows;
    const int64_t first_column = column_panel * tiles_.columns;
    const int64_t rows = std::min(tiles_.rows, product_.rows - first_row);
    const int64_t columns = std::min(tiles_.columns, product_.columns - first_column);
    for (int64_t i = 0; i < rows; ++i) {
      float* results = sums + i * tiles_.columns;
      for (int64_t j = 0; j < columns; ++j) {
        if (results[j] != results[j]) results[j] = nan(a + i, b + j);
      }
      if (arithmetic_.result) round(*arithmetic_.result, results, columns);
      scale(results, first_row + i, first_column, columns);
      if (product_.result) round(*product_.result, results, columns);
      const int64_t row = batch * product_.rows + first_row + i;
      std::copy_n(results, columns, product_.out + row * product_.columns + first_column);
    }
  }

  void sum(SumRandom random, const float* a, const float* b, float* sums) const {
    const int64_t size = tiles_.rows * tiles_.columns;
    std::fill(sums, sums + size, 0.0f);
    if (arithmetic_.chunk == 0) {
      if (depth_ != 0) chunk(random, depth_, a, b, sums);
      return;
    }
    for (int64_t start = 0; start < depth_; start += chunk_) {
      alignas(64) float inner[kLargestTile] = {};
      const int64_t length = std::min(chunk_, depth_ - start);
      random.rounding = static_cast<uint64_t>(start);
      chunk(random, length, a + start * tiles_.rows, b + start * tiles_.columns, inner);
      random.rounding = static_cast<uint64_t>(product_.inner + start / chunk_);
      add(random, inner, sums);
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

  // Adds `count` products to sums that are zero.
  void chunk(const SumRandom& random, int64_t count, const float* a, const float* b,
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
    alignas(64) float odd[kLargestTile] = {};
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
    const RoundKernel rounding = round_kernel(cast);
    const bool plain = cast.flush == 0 && cast.saturate == 0;
    return plain && rounding == round_bf16_rne ? tiles_.bfloat16 : tiles_.rounded[rounding];
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

  void scale(float* results, int64_t row, int64_t first_column, int64_t columns) const {
    const auto& [alpha, beta] = std::pair(product_.alpha, product_.beta);
    for (int64_t j = 0; j < columns && alpha != 1; ++j) results[j] *= alpha;
    if (product_.c == nullptr) return;
    const float* c = product_.c + row * product_.c_row_stride;
    for (int64_t j = 0; j < columns; ++j) {
      const float term = c[(first_column + j) * product_.c_column_stride];
      results[j] += beta != 1 ? beta * term : term;
    }
  }

  static constexpr int64_t kLargestTile = 384;

  const Kernels& kernels_;
  const TileKernels& tiles_;
  const Arithmetic& arithmetic_;
  const Product& product_;
  int64_t depth_;  // products of each sum, those that fill up a pair among them
  int64_t chunk_;
  Plan plan_, outer_plan_;
  int64_t row_panels_, column_panels_;
  Panels a_, b_;
};

}  // namespace

void multiply(const Kernels& kernels, const Arithmetic& arithmetic, const Product& product,
              const ParallelFor& parallel) {
  if (product.rows == 0 || product.columns == 0 || product.a.used.empty()) return;
  Multiplication(kernels, arithmetic, product).run(parallel);
}

}  // namespace onnxbf

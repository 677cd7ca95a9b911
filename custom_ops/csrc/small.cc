#include "small.h"

#include <algorithm>
#include <tuple>

#include "casts.h"
#include "epilogue.h"
#include "float_environment.h"
#include "pack.h"
#include "sizes.h"
#include "small_factor.h"

namespace onnxbf {
namespace {

constexpr int64_t kMostFloats = 1 << 13;  // of a factor, or of the sums
constexpr int64_t kTaskWork = 1 << 19;    // multiplications in a task

class Small {
 public:
  Small(const Small&) = delete;
  Small(const Kernels& kernels, const Arithmetic& arithmetic, const Product& product)
      : tiles_(kernels.tiles),
        arithmetic_(arithmetic),
        product_(product),
        width_(fill_up(product.columns, tiles_.columns)),
        a_(SmallFactor::left(kernels, arithmetic, product.a, product.rows, product.inner)),
        b_(SmallFactor::right(kernels, arithmetic, product.b, product.columns, product.inner,
                              width_)),
        sums_cast_(kernels, {arithmetic.result}),
        result_cast_(kernels, {product.result}),
        goes_along_rows_(product.a.inner_stride == 1),
        written_step_(product.row_stride() == product.columns ? kCacheLine
                                                              : product.row_stride()) {
    sums_are_results_ = sums_cast_.empty() && product.alpha == 1;
    in_place_ = product.columns == width_ && sums_are_results_ && result_cast_.empty();
    // Blocks of rows as even as can be: of few rows, multiply-adds wait for each other.
    const int64_t blocks = divide_up(product.rows, tiles_.rows);
    block_ = divide_up(product.rows, blocks);
    for (const SmallFactor* factor : {&a_, &b_}) {
      for (const int64_t place : factor->parts(std::max<int64_t>(product.inner, 1))) {
        ahead_.push_back({factor, place});
      }
    }
  }

  int64_t floats() const {
    return fill_up(a_.floats(), kAligned) + fill_up(b_.floats(), kAligned) + block_ * width_;
  }

  // One product of the batch. `memory`: of so many floats. False where some sum is NaN.
  bool run(int64_t batch, float* memory) const {
    const FloatEnvironment environment(arithmetic_.flush);
    float* b_memory = memory + fill_up(a_.floats(), kAligned);
    float* sums = b_memory + fill_up(b_.floats(), kAligned);
    const float* a = a_.take(batch, memory);
    const float* b = b_.take(batch, b_memory);
    size_t index = 0;
    const SmallTile whole = tile_of(a, b);
    for (int64_t row = 0; row < product_.rows; row += block_) {
      const int64_t rows = std::min(block_, product_.rows - row);
      float* out = product_.out_row(batch, row);
      float* to = in_place_ ? out : sums;
      uint32_t largest = 0;
      for (int64_t column = 0; column < width_; column += tiles_.columns, ++index) {
        SmallTile tile = whole;
        tile.rows = rows;
        tile.a += row * tile.a_row;
        tile.b += column;
        tile.sums = to + column;
        tile.written = out + first_asked(column);
        look_ahead(batch + 1, index, tile);
        largest = std::max(largest, tiles_.small(tile));
      }
      if (largest > kInfinity) return false;
      if (!in_place_) finish(sums, rows, largest, out);
    }
    return true;
  }

 private:
  static constexpr int64_t kAligned = 16;

  // A part of what a product reads.
  struct Part {
    const SmallFactor* factor;
    int64_t place;  // in the matrix
  };

  // The first tile of these.
  SmallTile tile_of(const float* a, const float* b) const {
    SmallTile tile{};
    tile.inner = product_.inner;
    tile.odd_first = arithmetic_.step == kOddFirst;
    tile.flush = arithmetic_.flush;
    tile.a = tile.ahead = a;
    tile.a_row = goes_along_rows_ ? a_.stride() : 1;
    tile.a_step = goes_along_rows_ ? 1 : a_.stride();
    tile.b = b;
    tile.b_step = b_.stride();
    tile.sums_row = in_place_ ? product_.row_stride() : width_;
    tile.written_step = written_step_;
    return tile;
  }

  // Where in its rows of results a tile begins to ask for them; it does so once for each product.
  int64_t first_asked(int64_t column) const {
    const bool by_lines = written_step_ == kCacheLine;
    return by_lines ? column / tiles_.columns * product_.inner * kCacheLine : column;
  }

  // What the next product of the batch reads is asked for meanwhile, a part by each tile.
  void look_ahead(int64_t batch, size_t index, SmallTile& tile) const {
    if (index >= ahead_.size() || batch >= static_cast<int64_t>(product_.a.used.size())) return;
    const auto& [factor, place] = ahead_[index];
    tile.ahead = factor->matrix(batch) + place;
    tile.ahead_step = factor->part_step();
  }

  // `largest`: magnitude of the sums, of which none is NaN.
  void finish(float* sums, int64_t rows, uint32_t largest, float* out) const {
    if (sums_are_results_) {
      const uint32_t known = arithmetic_.flush ? largest : kInfinity;  // else some may be subnormal
      return result_cast_.round_up_to(known, sums, width_, rows, product_.columns, out,
                                      product_.row_stride());
    }
    const int64_t count = rows * width_;
    sums_cast_(sums, count);
    if (product_.alpha != 1) {
      const FloatEnvironment nearest(false);
      for (int64_t i = 0; i < count; ++i) sums[i] *= product_.alpha;
    }
    result_cast_(sums, width_, rows, product_.columns, out, product_.row_stride());
  }

  const TileKernels& tiles_;
  const Arithmetic& arithmetic_;
  const Product& product_;
  int64_t width_;  // columns of whole tiles
  SmallFactor a_, b_;
  Casts sums_cast_, result_cast_;
  bool goes_along_rows_;   // in the memory of a
  bool sums_are_results_;  // but for their cast
  bool in_place_;          // whether sums are added where the results are wanted
  int64_t written_step_;   // a line on, or a row, where rows stand apart
  int64_t block_;          // rows at a time
  std::vector<Part> ahead_;  // one for each tile, or fewer
};

// The same with rows for columns, where results stand by columns: these come one by one, not rows.
Product by_rows(const Product& product) {
  if (product.out_column_stride == 1) return product;
  Product turned = product;
  std::swap(turned.a, turned.b);
  std::swap(turned.rows, turned.columns);
  std::swap(turned.out_row_stride, turned.out_column_stride);
  return turned;
}

// The product with this number alone.
Product one_of(const Product& product, int64_t batch) {
  const auto index = static_cast<size_t>(batch);
  Product one = product;
  one.then = nullptr;
  one.a.used = {product.a.used[index]};
  one.b.used = {product.b.used[index]};
  one.out = product.out_row(batch, 0);
  if (!product.out_first.empty()) one.out_first = {0};
  return one;
}

bool is_plain(const Factor& factor) {
  return factor.images == nullptr && factor.run == 0 &&
         (factor.inner_stride == 1 || factor.outer_stride == 1);
}

}  // namespace

bool is_small(const Kernels& kernels, const Arithmetic& arithmetic, const Product& product) {
  const bool by_twos = arithmetic.step == kOddFirst;
  if ((arithmetic.step != kFma && !by_twos) || arithmetic.chunk != 0) return false;
  if (!is_float32(arithmetic.accumulator)) return false;
  const bool rounds_to_zero = arithmetic.operands && arithmetic.operands->flush != 0;
  if (arithmetic.denormals_in_are_zero && !rounds_to_zero) return false;
  if (by_twos && (product.inner % 2 != 0 || kernels.tiles.bfloat16_pairs != nullptr)) return false;
  if (!is_plain(product.a) || !is_plain(product.b)) return false;
  if (product.c != nullptr || !product.places.empty()) return false;
  const bool turned = product.out_column_stride != 1;
  if (turned && product.row_stride() != 1) return false;
  const int64_t rows = turned ? product.columns : product.rows;
  const int64_t width = fill_up(turned ? product.rows : product.columns, kernels.tiles.columns);
  return std::max({rows * product.inner, product.inner * width, rows * width}) <= kMostFloats;
}

void multiply_small(const Kernels& kernels, const Arithmetic& arithmetic, const Product& product,
                    const ParallelFor& parallel,
                    const std::function<void(const Product&)>& otherwise) {
  const auto& [rows, columns, then] = std::tie(product.rows, product.columns, product.then);
  const bool finishes = then != nullptr && columns <= Epilogue::kWidestPart;
  const Product turned = by_rows(product);
  const Small small(kernels, arithmetic, turned);
  const auto batch = static_cast<int64_t>(product.a.used.size());
  const int64_t work = product.rows * product.columns * std::max<int64_t>(product.inner, 1);
  const int64_t together = std::max<int64_t>(kTaskWork / work, 1);
  parallel(divide_up(batch, together), [&](int64_t task) {
    const Panels memory(1, small.floats());
    for (int64_t i = task * together; i < std::min((task + 1) * together, batch); ++i) {
      if (!small.run(i, memory[0])) otherwise(one_of(product, i));
      if (!finishes) continue;
      const FloatEnvironment nearest(false);
      float* out = product.out_row(i, 0);
      then->run({columns, i * rows, rows, 0, columns}, out, out, columns);
    }
  });
  if (then != nullptr && !finishes) then->run_all(product, parallel);
}

}  // namespace onnxbf

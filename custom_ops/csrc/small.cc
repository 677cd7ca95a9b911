#include "small.h"

#include <algorithm>

#include "casts.h"
#include "float_environment.h"
#include "pack.h"
#include "sizes.h"
#include "turn.h"

namespace onnxbf {
namespace {

constexpr int64_t kMostFloats = 1 << 13;   // of a factor, or of the sums
constexpr int64_t kTaskWork = 1 << 18;    // multiplications in a task

// Rounded on the way.
void copy_lines(const Casts& casts, const float* from, int64_t lines, int64_t length,
                int64_t from_stride, float* to, int64_t to_stride) {
  if (from_stride == length && to_stride == length) return casts(from, to, lines * length);
  for (int64_t i = 0; i < lines; ++i) casts(from + i * from_stride, to + i * to_stride, length);
}

std::vector<int64_t> multiples(int64_t count, int64_t stride) {
  std::vector<int64_t> places(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) places[static_cast<size_t>(i)] = i * stride;
  return places;
}

class Small {
 public:
  Small(const Kernels& kernels, const Arithmetic& arithmetic, const Product& product)
      : tiles_(kernels.tiles),
        arithmetic_(arithmetic),
        product_(product),
        width_(fill_up(product.columns, tiles_.columns)),
        a_cast_(kernels),
        b_cast_(kernels),
        sums_cast_(kernels),
        result_cast_(kernels),
        in_place_(product.columns == width_ && product.row_stride() == width_ &&
                  product.out_column_stride == 1) {
    a_cast_.add(product.a.cast);
    a_cast_.add(arithmetic.operands);
    b_cast_.add(product.b.cast);
    b_cast_.add(arithmetic.operands);
    sums_cast_.add(arithmetic.result);
    result_cast_.add(product.result);
    if (product.b.outer_stride != 1) to_columns_ = multiples(product.inner, width_);
    if (turns()) to_rows_ = multiples(product.columns, product.out_column_stride);
  }

  int64_t floats() const {
    return fill_up(product_.rows * product_.inner, kAligned) +
           fill_up(product_.inner * width_, kAligned) + product_.rows * width_;
  }

  // One product of the batch. `memory`: of so many floats. False where some sum is NaN.
  bool run(int64_t batch, float* memory) const {
    float* a = memory;
    float* b = a + fill_up(product_.rows * product_.inner, kAligned);
    float* sums = in_place_ ? product_.out_row(batch, 0)
                            : b + fill_up(product_.inner * width_, kAligned);
    {
      const FloatEnvironment nearest(false);
      take_left(matrix(product_.a, batch), a);
      take_right(matrix(product_.b, batch), b);
    }
    if (!add(a, b, sums)) return false;
    const FloatEnvironment nearest(false);
    finish(sums, product_.out_row(batch, 0));
    return true;
  }

 private:
  static constexpr int64_t kAligned = 16;

  static const float* matrix(const Factor& factor, int64_t batch) {
    return factor.matrices[static_cast<size_t>(factor.used[static_cast<size_t>(batch)])];
  }

  bool goes_along_rows() const { return product_.a.inner_stride == 1; }
  bool turns() const { return product_.out_column_stride != 1; }

  void take_left(const float* from, float* to) const {
    const auto& [rows, inner] = std::pair(product_.rows, product_.inner);
    if (goes_along_rows()) {
      copy_lines(a_cast_, from, rows, inner, product_.a.outer_stride, to, inner);
    } else {
      copy_lines(a_cast_, from, inner, rows, product_.a.inner_stride, to, rows);
    }
  }

  void take_right(const float* from, float* to) const {
    const auto& [inner, columns] = std::pair(product_.inner, product_.columns);
    if (columns < width_) std::fill_n(to, inner * width_, 0.0f);
    if (product_.b.outer_stride == 1) {
      copy_lines(b_cast_, from, inner, columns, product_.b.inner_stride, to, width_);
    } else {
      turn_lines(from, columns, inner, product_.b.outer_stride, to_columns_.data(), to);
      b_cast_(to, inner * width_);
    }
  }

  bool add(const float* a, const float* b, float* sums) const {
    const FloatEnvironment environment(arithmetic_.flush);
    const int64_t row_stride = goes_along_rows() ? product_.inner : 1;
    const int64_t step = goes_along_rows() ? 1 : product_.rows;
    for (int64_t row = 0; row < product_.rows; row += tiles_.rows) {
      const int64_t rows = std::min(tiles_.rows, product_.rows - row);
      for (int64_t column = 0; column < width_; column += tiles_.columns) {
        const SmallTile tile{rows,       product_.inner,
                             arithmetic_.step == kOddFirst,
                             arithmetic_.flush,
                             a + row * row_stride,
                             row_stride, step,
                             b + column, width_,
                             sums + row * width_ + column,
                             width_};
        if (!tiles_.small(tile)) return false;
      }
    }
    return true;
  }

  void finish(float* sums, float* out) const {
    const auto& [rows, columns] = std::pair(product_.rows, product_.columns);
    const int64_t count = rows * width_;
    sums_cast_(sums, count);
    if (product_.alpha != 1) {
      for (int64_t i = 0; i < count; ++i) sums[i] *= product_.alpha;
    }
    if (in_place_) return result_cast_(sums, count);
    if (!turns()) {
      return copy_lines(result_cast_, sums, rows, columns, width_, out, product_.row_stride());
    }
    result_cast_(sums, count);
    turn_lines(sums, rows, columns, width_, to_rows_.data(), out);
  }

  const TileKernels& tiles_;
  const Arithmetic& arithmetic_;
  const Product& product_;
  int64_t width_;  // columns of whole tiles
  Casts a_cast_, b_cast_, sums_cast_, result_cast_;
  bool in_place_;  // whether sums are added where the results are wanted
  std::vector<int64_t> to_columns_, to_rows_;
};

// The product with this number alone.
Product one_of(const Product& product, int64_t batch) {
  const auto index = static_cast<size_t>(batch);
  Product one = product;
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
  if (product.out_column_stride != 1 && product.row_stride() != 1) return false;
  const int64_t width = fill_up(product.columns, kernels.tiles.columns);
  return std::max({product.rows * product.inner, product.inner * width, product.rows * width}) <=
         kMostFloats;
}

void multiply_small(const Kernels& kernels, const Arithmetic& arithmetic, const Product& product,
                    const ParallelFor& parallel,
                    const std::function<void(const Product&)>& otherwise) {
  const Small small(kernels, arithmetic, product);
  const auto batch = static_cast<int64_t>(product.a.used.size());
  const int64_t work = product.rows * product.columns * std::max<int64_t>(product.inner, 1);
  const int64_t together = std::max<int64_t>(kTaskWork / work, 1);
  parallel((batch + together - 1) / together, [&](int64_t task) {
    const Panels memory(1, small.floats());
    for (int64_t i = task * together; i < std::min((task + 1) * together, batch); ++i) {
      if (!small.run(i, memory[0])) otherwise(one_of(product, i));
    }
  });
}

}  // namespace onnxbf

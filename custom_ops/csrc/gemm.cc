#include "gemm.h"

#include <algorithm>

#include "float_environment.h"
#include "multiplication.h"
#include "sizes.h"
#include "small.h"

namespace onnxbf {
namespace {

constexpr int64_t kHeldFloats = 1 << 18;  // of packed factors, or of sums: half of what a core's own cache holds

// Both factors are matrices.
class MatrixMultiplication : public Multiplication {
 public:
  using Multiplication::Multiplication;

  void run(const ParallelFor& parallel) {
    if (sums_.may_stand() && a_stands(parallel)) {
      sums_.read(a_, true);
    } else {
      if (goes_along_sums() && compute_along_sums(parallel)) return;
      pack(a_, 0, sums_.depth(), parallel);
    }
    pack(b_, 0, sums_.depth(), parallel);
    compute_packed(parallel);
  }

 private:
  // Whether both factors are packed some products at a time, so that a core's own cache holds what is packed and
  // the sums.
  bool goes_along_sums() const {
    return sums_.is_divisible() && right_panels_ * sums_of_panel() <= kHeldFloats &&
           sums_.depth() * packed_floats() > 2 * kHeldFloats;
  }

  // Of one product of each sum.
  int64_t packed_floats() const {
    return a_.panels() * tiles_.rows + right_panels_ * tiles_.columns;
  }

  // False where there are NaNs that it cannot settle.
  bool compute_along_sums(const ParallelFor& parallel) {
    const int64_t parts = sums_.depth() / std::max(kHeldFloats / packed_floats(), kDepthBlock) + 1;
    const int64_t together = fill_up(divide_up(sums_.depth(), parts), int64_t{2});
    const Panels sums(right_panels_, sums_of_panel());
    clear(sums);
    for (int64_t begin = 0; begin < sums_.depth(); begin += together) {
      const int64_t end = std::min(begin + together, sums_.depth());
      pack(a_, begin, end, parallel);
      pack(b_, begin, end, parallel);
      for_tiles(parallel, [&](Block block, int64_t index) {
        const FloatEnvironment environment(arithmetic_.flush);
        block.b = b_.at(matrix_of(block.batch), block.column, begin);
        block.begin = begin;
        sums_.add_products(block, begin, end, sums[index] + block.first * sums_.tile_size());
      });
    }
    return finish_all(sums, parallel);
  }
};

}  // namespace

void multiply(const Kernels& kernels, const Arithmetic& arithmetic, const Product& product,
              const ParallelFor& parallel) {
  if (product.rows == 0 || product.columns == 0 || product.a.used.empty()) return;
  if (product.b.images != nullptr) {
    return multiply_images(kernels, arithmetic, product, parallel);
  }
  if (!is_small(kernels, arithmetic, product)) {
    return MatrixMultiplication(kernels, arithmetic, product).run(parallel);
  }
  multiply_small(kernels, arithmetic, product, parallel, [&](const Product& one) {
    MatrixMultiplication(kernels, arithmetic, one)
        .run([](int64_t count, const std::function<void(int64_t)>& body) {
          for (int64_t i = 0; i < count; ++i) body(i);
        });
  });
}

}  // namespace onnxbf

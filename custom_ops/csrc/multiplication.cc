#include "multiplication.h"

#include <algorithm>
#include <atomic>

#include "float_environment.h"
#include "sizes.h"

namespace onnxbf {

Multiplication::Multiplication(const Kernels& kernels, const Arithmetic& arithmetic,
                               const Product& product)
    : kernels_(kernels),
      tiles_(kernels.tiles),
      arithmetic_(arithmetic),
      product_(product),
      sums_(kernels, arithmetic, product),
      a_(kernels, arithmetic, product.a, product.rows, product.inner, tiles_.rows,
         sums_.left_form()),
      b_(kernels, arithmetic, product.b, product.columns, product.inner, tiles_.columns,
         sums_.right_form()),
      right_panels_(batch() * divide_up(product.columns, tiles_.columns)),
      results_(kernels, arithmetic, product) {
  sums_.read(a_, false);
}

bool Multiplication::a_stands(const ParallelFor& parallel) const {
  if (a_.stands()) return true;
  const int64_t parts = a_.parts();
  const auto matrices = static_cast<int64_t>(product_.a.matrices.size());
  std::atomic<bool> all{true};
  parallel(matrices * parts, [&](int64_t i) {
    if (all && !a_.stands(i / parts, i % parts)) all = false;
  });
  return all;
}

void Multiplication::pack(Packing& packing, int64_t begin, int64_t end,
                          const ParallelFor& parallel) const {
  packing.hold(begin, end);
  const int64_t tasks = packing.tasks();
  const int64_t together = std::max<int64_t>(kPackFloats / (packing.task_floats() + 1), 1);
  parallel((tasks + together - 1) / together, [&](int64_t i) {
    const FloatEnvironment nearest(false);
    for (int64_t task = i * together; task < std::min((i + 1) * together, tasks); ++task) {
      packing.run(task);
    }
  });
}

void Multiplication::compute_packed(const ParallelFor& parallel) const {
  const int64_t wanted = a_.panels() * right_panels_ / kFewTasks;
  const int64_t tiles_of_block = std::clamp<int64_t>(wanted, 1, sums_.tiles_of_task());
  const int64_t row_blocks = (a_.panels() + tiles_of_block - 1) / tiles_of_block;
  const int64_t together = sums_.columns_together();
  parallel(right_panels_ * row_blocks, [&](int64_t i) {
    // Neighbouring tasks read the same rows of a, which a nearer cache holds than all of b.
    const int64_t batch = i / b_.panels() / row_blocks, index = i - batch * b_.panels() * row_blocks;
    const int64_t group = index / (together * row_blocks) * together;
    const int64_t columns = std::min(together, b_.panels() - group);
    const int64_t of_group = index - group * row_blocks;
    const int64_t column = group + of_group % columns, first = of_group / columns * tiles_of_block;
    const int64_t last = std::min(first + tiles_of_block, a_.panels());
    compute({batch, first, last, column, b_.at(matrix_of(batch), column, 0)});
  });
}

void Multiplication::compute(const Block& block) const {
  alignas(64) float sums[kLargestBlock];
  Ahead ahead;
  results_.ask_ahead(block, ahead);
  Block own = block;
  own.ahead = &ahead;
  if (sums_.stands()) {
    sums_.ask_ahead(block, ahead);
  } else {
    ahead.ask_for_all();
  }
  FloatEnvironment environment(arithmetic_.flush);
  const uint32_t largest = sums_.compute(own, sums);
  environment.change(false);
  finish(block, sums, largest);
}

void Multiplication::clear(const Panels& sums) const {
  for (int64_t i = 0; i < right_panels_; ++i) std::fill_n(sums[i], sums_of_panel(), 0.0f);
}

void Multiplication::for_tiles(const ParallelFor& parallel,
                               const std::function<void(const Block&, int64_t)>& body) const {
  const int64_t tasks = divide_up(a_.panels(), sums_.tiles_of_task());
  parallel(right_panels_ * tasks, [&](int64_t i) {
    const int64_t index = i / tasks, row = i % tasks * sums_.tiles_of_task();
    body({index / b_.panels(), row, std::min(row + sums_.tiles_of_task(), a_.panels()),
          index % b_.panels(), nullptr},
         index);
  });
}

bool Multiplication::finish(const Block& block, float* sums, uint32_t largest) const {
  if (largest > kInfinity && !sums_.settle_nans(block, sums)) return false;
  results_.finish(block, sums, largest);
  return true;
}

bool Multiplication::finish_all(const Panels& sums, const ParallelFor& parallel) const {
  std::atomic<bool> right{true};
  for_tiles(parallel, [&](const Block& block, int64_t index) {
    const FloatEnvironment nearest(false);
    if (!finish(block, sums[index] + block.first * sums_.tile_size())) right = false;
  });
  return right;
}

}  // namespace onnxbf

// A matrix product at work: its factors, packed or not, its sums and its results.
#pragma once

#include <functional>

#include "block_sums.h"
#include "gemm.h"
#include "pack.h"
#include "results.h"

namespace onnxbf {

constexpr int64_t kFewTasks = 64;         // where there would be fewer, tasks are made smaller
constexpr int64_t kPackFloats = 1 << 13;  // in a task

class Multiplication {
 public:
  Multiplication(const Kernels& kernels, const Arithmetic& arithmetic, const Product& product);

 protected:
  int64_t batch() const { return static_cast<int64_t>(product_.a.used.size()); }
  // Of b: images have one for each product.
  int64_t matrix_of(int64_t batch) const {
    return product_.b.images != nullptr ? batch : product_.b.used[static_cast<size_t>(batch)];
  }

  // Packs the products [begin, end).
  void pack(Packing& packing, int64_t begin, int64_t end, const ParallelFor& parallel) const;
  // Whether the numbers of a, as they stand, are what packing would make of them.
  bool a_stands(const ParallelFor& parallel) const;

  // All products, of which b is packed; of some tiles of one panel.
  void compute_packed(const ParallelFor& parallel) const;
  void compute(const Block& block) const;
  // Of the sums with a panel of b, which stand together; and zeros for all.
  int64_t sums_of_panel() const { return a_.panels() * sums_.tile_size(); }
  void clear(const Panels& sums) const;
  // Calls body(block, panel of b) for all tiles, some at a time.
  void for_tiles(const ParallelFor& parallel,
                 const std::function<void(const Block&, int64_t)>& body) const;
  // From sums, whose largest magnitude is known or not, to results. False where NaNs need panels of b, and
  // there are none.
  bool finish(const Block& block, float* sums, uint32_t largest = kUnknownMagnitude) const;
  bool finish_all(const Panels& sums, const ParallelFor& parallel) const;

  const Kernels& kernels_;
  const TileKernels& tiles_;
  const Arithmetic& arithmetic_;
  const Product& product_;
  BlockSums sums_;
  Packing a_, b_;
  int64_t right_panels_;  // of b, in all products of the batch
  Results results_;
};

// Products whose b are images (images.h).
void multiply_images(const Kernels& kernels, const Arithmetic& arithmetic, const Product& product,
                     const ParallelFor& parallel);

}  // namespace onnxbf

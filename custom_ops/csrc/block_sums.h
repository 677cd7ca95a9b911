// The sums of tiles of a matrix product, as a profile says: which kernels, in which chunks and parts.
#pragma once

#include <algorithm>

#include "ahead.h"
#include "gemm.h"
#include "pack.h"

namespace onnxbf {

constexpr int64_t kRowBlock = 96;     // rows of a block: several tiles, that one panel of b serves
constexpr int64_t kDepthBlock = 192;  // products that they take in turn: what the nearest cache holds
constexpr int64_t kLargestBlock = kRowBlock * kWidest;  // sums of a block

// Tiles of one product of the batch, one below the other.
struct Block {
  int64_t batch, first, last, column;  // panels
  const float* b;                      // that of `column`,
  int64_t begin = 0;                   // from this product on
  Ahead* ahead = nullptr;              // where a stands: what its tiles are to ask for
};

constexpr uint32_t kUnknownMagnitude = UINT32_MAX;

class BlockSums {
 public:
  BlockSums(const Kernels& kernels, const Arithmetic& arithmetic, const Product& product);

  Packing::Form left_form() const;
  Packing::Form right_form() const;
  // Where the panels of a are. `stands`: they are not needed.
  void read(const Packing& a, bool stands) {
    a_ = &a;
    stands_ = stands;
  }
  // Whether a may be read where it stands, its numbers allowing.
  bool may_stand() const;
  bool stands() const { return stands_; }

  int64_t depth() const { return depth_; }  // products of each sum, those that fill up a pair among them
  int64_t tile_size() const { return tiles_.rows * tiles_.columns; }
  int64_t rows_of(int64_t row_panel) const {
    return std::min(tiles_.rows, product_.rows - row_panel * tiles_.rows);
  }
  // Whether a sum may be left and gone on with anywhere, but for within a pair.
  bool is_divisible() const { return is_divisible_step() && arithmetic_.chunk == 0; }

  // The sums of all products, of at most kRowBlock rows; their largest magnitude, above kInfinity where
  // one is NaN, or kUnknownMagnitude. The caller has set the floating-point environment.
  uint32_t compute(const Block& block, float* sums) const;
  // Adds the products [begin, end) to the sums of all tiles, those of a part at a time. As above.
  void add_products(const Block& block, int64_t begin, int64_t end, float* sums) const;
  // Whether products may be taken from images as they lie.
  bool is_direct() const;
  // Adds `count` products of an image, the first of which is the product `begin` of their sums. As above.
  void add_direct(const Block& block, int64_t begin, int64_t count, const float* image,
                  const int64_t* inner, const DirectColumns& columns, float* sums) const;
  // Where a stands: what the block below this one reads of it, a part of it for each panel of b.
  void ask_ahead(const Block& block, Ahead& ahead) const;
  // Makes NaNs what the profile says. False where that takes panels of b, and there are none.
  bool settle_nans(const Block& block, float* sums) const;

  // Panels of b that are read over and over while rows change; and tiles of a task, one below the other.
  int64_t columns_together() const;
  int64_t tiles_of_task() const { return has_tiles() ? kRowBlock / tiles_.rows : kTilesOfTask; }

 private:
  static constexpr int64_t kTilesOfTask = 4;  // of more, results are written to too many pages at a time

  bool has_instruction() const;
  bool has_tiles() const {
    return arithmetic_.step == kEvenOdd && tiles_.pair_tiles != nullptr;
  }
  bool is_divisible_step() const {
    return arithmetic_.step == kFma || arithmetic_.step == kOddFirst;
  }
  bool adds_to_bfloat16() const;
  const float* left(const Block& block, int64_t row, int64_t product) const;
  SumRandom random(const Block& block, int64_t row, int64_t rounding) const;
  void add_pairs(const Block& block, int64_t first, int64_t count, float* sums) const;
  void add_tiles(const Block& block, float* sums) const;
  void add_chunks(const Block& block, float* sums) const;
  void add_short_chunks(const Block& block, float* sums) const;
  void add(const SumRandom& random, const float* terms, float* sums) const;
  void add_part(const SumRandom& random, int64_t rows, int64_t count, const float* a,
                const float* b, float* sums) const;
  TileFunction kernel() const;
  void exact(int64_t count, const float* a, const float* b, float* sums) const;
  void aligned(int64_t count, const float* a, const float* b, float* sums) const;
  uint32_t add_standing(const Block& block, int64_t begin, int64_t end, float* sums) const;
  float left_number(const Block& block, int64_t row, int64_t i, int64_t place) const;
  float nan(const Block& block, int64_t row, int64_t i, const float* b) const;
  void find_first_nans(const Block& block, int64_t row, float* sums) const;

  const Kernels& kernels_;
  const TileKernels& tiles_;
  const Arithmetic& arithmetic_;
  const Product& product_;
  int64_t depth_, chunk_;
  Plan plan_, outer_plan_;
  const Packing* a_ = nullptr;
  bool stands_ = false;
};

}  // namespace onnxbf

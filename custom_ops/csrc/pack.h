// Factors of a matrix product in the order in which kernels read them, rounded on the way.
//
// A panel holds `width` rows of a (columns of b): all their first numbers, then all their second
// ones, and so on, in the order in which the profile takes products. What is missing is zero.
#pragma once

#include <cstring>
#include <optional>
#include <vector>

#include "casts.h"
#include "gemm.h"
#include "images.h"
#include "kept_memory.h"
#include "pair_tiles.h"
#include "sizes.h"

namespace onnxbf {

// Whole lines, which are most, are copied without a call.
inline void copy_line(const float* from, int64_t count, float* to) {
  if (count == kWidest) {
    std::memcpy(to, from, kWidest * sizeof(float));
  } else {
    std::memcpy(to, from, static_cast<size_t>(count) * sizeof(float));
  }
}

// Memory for panels, aligned to whole vectors; what stands in it is left.
class Panels {
 public:
  // `apart`: lines between them, so that they may not all fall into the same sets of a cache.
  Panels(int64_t count, int64_t floats, int64_t apart = 5);
  float* operator[](int64_t i) const { return memory_.data() + i * stride_; }
  int64_t stride() const { return stride_; }

 private:
  int64_t stride_;
  KeptMemory memory_;
};

class Packing {
 public:
  enum Form {
    kFloats,
    kCleanFloats,  // of which NaNs are 0x7FC00000
    kPairs,        // of bfloat16: see PairsFunction
    kPairRows,     // the same as pair_tiles.h has it: of the left factor,
    kPairPanels,   // and of the right one
  };

  // Products of a sum of `count`, with those that fill it up.
  static int64_t depth_of(const Arithmetic& arithmetic, int64_t count, Form form) {
    const int64_t depth = arithmetic.depth_of(count);
    return is_of_tiles(form) ? fill_up(depth, 2 * kChunkPairs) : depth;
  }

  // `size`: of the factor's rows (columns), `inner`: of the sums.
  Packing(const Kernels& kernels, const Arithmetic& arithmetic, const Factor& factor, int64_t size,
          int64_t inner, int64_t width, Form form);

  // The work, in parts that may run at the same time, after it is said which products are held. Without, panels are
  // filled one by one: all of them would take too much memory.
  void hold(int64_t begin, int64_t end);
  int64_t tasks() const;
  void run(int64_t task) const;
  int64_t task_floats() const;

  int64_t panels() const { return panels_; }  // of each matrix
  // A panel from this product on.
  const float* at(int64_t matrix, int64_t index, int64_t product) const {
    return (*memory_)[matrix * panels_ + index] + floats_of(product - begin_);
  }
  // Whether the factor's numbers could be read where they stand, were they such as packing leaves alone;
  // whether all are, as is known without reading them; and whether those of a matrix are, or of a part of it.
  bool may_stand() const;
  bool stands() const { return lost_ == 0; }
  int64_t parts() const { return divide_up(size_, part_rows()); }
  bool stands(int64_t matrix, int64_t part) const;
  // One panel, or its products [begin, end), in memory of the caller's. `begin` is even.
  int64_t panel_floats() const { return floats_of(depth_); }
  int64_t floats_of(int64_t products) const {
    if (form_ == kPairRows) return products / 2;
    return products * width_ / (form_ == kPairs || form_ == kPairPanels ? 2 : 1);
  }
  // From row to row, of kPairRows: an odd number of lines, so that those of a tile do not all fall into the same
  // sets of a cache.
  int64_t row_words() const { return (room_ / (2 * kChunkPairs) | 1) * kChunkPairs; }
  void fill(int64_t matrix, int64_t index, float* memory) const {
    fill(matrix, index, 0, depth_, memory);
  }
  void fill(int64_t matrix, int64_t index, int64_t begin, int64_t end, float* memory) const;

  // What numbers go through on their way into a panel; those of images, before they are gathered.
  void finish(float* numbers, int64_t count) const;
  // Where the images of the products are from now on.
  void take(const Canvases& canvases) { canvases_ = &canvases; }

 private:
  static constexpr int64_t kBlock = 64;  // products, packed at a time: several chunks of amx_bf16

  static bool is_of_tiles(Form form) { return form == kPairRows || form == kPairPanels; }
  int64_t place(int64_t k) const;
  int64_t part_rows() const;
  bool goes_by_twos() const { return arithmetic_.step == kOddFirst; }
  int64_t count_matrices() const;
  int64_t blocks() const;
  void pack(int64_t matrix, int64_t panel, int64_t begin, int64_t end, float* memory) const;
  void pack_floats(int64_t matrix, int64_t panel, int64_t begin, int64_t end, float* to) const;
  void pack_pairs(int64_t matrix, int64_t panel, int64_t begin, int64_t end, uint32_t* to) const;
  void spread(int64_t matrix, int64_t begin, int64_t end) const;
  void spread_pairs(int64_t matrix, int64_t begin, int64_t end) const;
  void copy_runs(const float* from, const PanelPart& part) const;
  uint32_t copy_lines(const float* from, const PanelPart& part) const;
  bool copies_lines() const;
  void clean(float* numbers, int64_t count) const;
  void copy(const float* from, const PanelPart& part) const;
  void pair_up(const float* numbers, int64_t pairs, float* words) const;
  uint32_t pair_lines(const float* from, int64_t stride, int64_t lines, int64_t count,
                      uint32_t* to) const;
  bool pair_rows(const float* from, int64_t length, int64_t count, uint32_t* to) const;

  const Arithmetic& arithmetic_;
  const Factor& factor_;
  int64_t size_, inner_, depth_, chunk_, width_, panels_;
  int64_t begin_ = 0, end_ = 0, room_ = 0;  // of the products that are held
  bool by_blocks_;  // neighbours in a panel are neighbours in memory
  bool flushes_;
  Form form_;
  const TileKernels& tiles_;
  Casts casts_;
  uint32_t lost_;  // bits, see Casts
  GatherFunction gather_;
  const Canvases* canvases_ = nullptr;
  std::optional<Panels> memory_;
};

}  // namespace onnxbf

// Factors of a matrix product in the order in which kernels read them, rounded on the way.
//
// A panel holds `width` rows of a (columns of b): all their first numbers, then all their second
// ones, and so on, in the order in which the profile takes products. What is missing is zero.
#pragma once

#include <cstring>
#include <vector>

#include "casts.h"
#include "gemm.h"
#include "images.h"
#include "kept_memory.h"

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
  Panels(int64_t count, int64_t floats);
  float* operator[](int64_t i) const { return memory_.data() + i * stride_; }

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
  };

  // `size`: of the factor's rows (columns), `inner`: of the sums. `late`: panels are not kept, but
  // filled one by one: all of them would take too much memory.
  Packing(const Kernels& kernels, const Arithmetic& arithmetic, const Factor& factor, int64_t size,
          int64_t inner, int64_t width, Form form, bool late);

  // The work, in parts that may run at the same time; none where it is done late.
  int64_t tasks() const;
  void run(int64_t task) const;
  int64_t task_floats() const;

  int64_t panels() const { return panels_; }  // of each matrix
  const float* panel(int64_t matrix, int64_t index) const {
    return memory_[matrix * panels_ + index];
  }
  // One panel, or its products [begin, end), in memory of the caller's. `begin` is even.
  int64_t panel_floats() const { return floats_of(depth_); }
  int64_t floats_of(int64_t products) const {
    return products * width_ / (form_ == kPairs ? 2 : 1);
  }
  void fill(int64_t matrix, int64_t index, float* memory) const {
    fill(matrix, index, 0, depth_, memory);
  }
  void fill(int64_t matrix, int64_t index, int64_t begin, int64_t end, float* memory) const;

  // What numbers go through on their way into a panel; those of images, before they are gathered.
  void finish(float* numbers, int64_t count) const;
  // Where the images of the products are from now on.
  void take(const Canvases& canvases) { canvases_ = &canvases; }

 private:
  int64_t place(int64_t k) const;
  int64_t count_matrices() const;
  void pack(int64_t matrix, int64_t panel, int64_t begin, int64_t end, float* memory) const;
  void copy_runs(const float* from, const PanelPart& part) const;
  void copy(const float* from, const PanelPart& part) const;
  void pair_up(const float* numbers, int64_t pairs, float* words) const;

  const Arithmetic& arithmetic_;
  const Factor& factor_;
  int64_t size_, inner_, depth_, chunk_, width_, panels_, blocks_;
  bool by_blocks_;  // neighbours in a panel are neighbours in memory
  bool late_;
  bool flushes_;
  Form form_;
  Casts casts_;
  GatherFunction gather_;
  const Canvases* canvases_ = nullptr;
  Panels memory_;
};

}  // namespace onnxbf

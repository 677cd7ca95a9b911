// Factors of a matrix product in the order in which kernels read them, rounded on the way.
//
// A panel holds `width` rows of a (columns of b): all their first numbers, then all their second
// ones, and so on, in the order in which the profile takes products. What is missing is zero.
#pragma once

#include <memory>
#include <vector>

#include "gemm.h"

namespace onnxbf {

// Memory for panels, aligned to whole vectors, without the cost of setting it.
class Panels {
 public:
  Panels(int64_t count, int64_t floats);
  float* operator[](int64_t i) const { return first_ + i * stride_; }

 private:
  int64_t stride_;
  std::unique_ptr<float[]> memory_;
  float* first_;
};

class Packing {
 public:
  enum Form {
    kFloats,
    kCleanFloats,  // of which NaNs are 0x7FC00000
    kPairs,        // of bfloat16: see PairsFunction
  };

  // `size`: of the factor's rows (columns), `inner`: of the sums.
  Packing(const Kernels& kernels, const Arithmetic& arithmetic, const Factor& factor, int64_t size,
          int64_t inner, int64_t width, Form form);

  // The work, in parts that may run at the same time.
  int64_t tasks() const;
  void run(int64_t task) const;

  int64_t panels() const { return panels_; }  // of each matrix
  const float* panel(int64_t matrix, int64_t index) const {
    return memory_[matrix * panels_ + index];
  }
  const uint32_t* pairs(int64_t matrix, int64_t index) const {
    return reinterpret_cast<const uint32_t*>(panel(matrix, index));
  }

 private:
  struct Step {
    Plan plan;
    RoundFunction round;
  };

  void add(const std::optional<CastSpec>& cast);
  int64_t place(int64_t k) const;
  void pack(int64_t matrix, int64_t panel, int64_t begin, int64_t end) const;
  void copy(const float* from, float* to, int64_t count, int64_t begin, int64_t end) const;
  void finish(float* numbers, int64_t count) const;
  void pair_up(const float* numbers, int64_t pairs, float* words) const;

  const Kernels& kernels_;
  const Arithmetic& arithmetic_;
  const Factor& factor_;
  int64_t size_, inner_, depth_, chunk_, width_, panels_, blocks_;
  bool by_blocks_;  // neighbours in a panel are neighbours in memory
  bool flushes_;
  Form form_;
  std::vector<Step> casts_;
  Panels memory_;
};

}  // namespace onnxbf

// Casts that numbers go through one after the other, worked out once.
#pragma once

#include <cstring>
#include <optional>
#include <vector>

#include "arithmetic.h"
#include "instruction_sets.h"

namespace onnxbf {

class Casts {
 public:
  explicit Casts(const Kernels& kernels) : kernels_(kernels) {}

  void add(const std::optional<CastSpec>& cast) {
    if (!cast || is_float32(*cast)) return;
    steps_.push_back({make_plan(*cast), kernels_.round[round_kernel(*cast)]});
  }

  // Rounds on the way from one place to another; not stochastically.
  void operator()(const float* from, float* to, int64_t count) const {
    if (steps_.empty()) std::memcpy(to, from, static_cast<size_t>(count) * sizeof(float));
    for (const Step& step : steps_) {
      step.round(step.plan, RandomKey{}, from, to, 0, count, false);
      from = to;
    }
  }

  // The same in place.
  void operator()(float* numbers, int64_t count) const {
    if (!steps_.empty()) (*this)(numbers, numbers, count);
  }

 private:
  struct Step {
    Plan plan;
    RoundFunction round;
  };

  const Kernels& kernels_;
  std::vector<Step> steps_;
};

}  // namespace onnxbf

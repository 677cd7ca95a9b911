// Casts that numbers go through one after the other, worked out once.
#pragma once

#include <cstring>
#include <initializer_list>
#include <optional>
#include <tuple>
#include <vector>

#include "arithmetic.h"
#include "instruction_sets.h"

namespace onnxbf {

class Casts {
 public:
  explicit Casts(const Kernels& kernels,
                 std::initializer_list<std::optional<CastSpec>> casts = {})
      : kernels_(kernels) {
    for (const std::optional<CastSpec>& cast : casts) add(cast);
  }

  void add(const std::optional<CastSpec>& cast) {
    if (!cast || is_float32(*cast)) return;
    const RoundKernel kernel = round_kernel(*cast);
    steps_.push_back({*cast, make_plan(*cast), kernels_.round[kernel],
                      kernels_.tiles.store_rounded[kernel], kernels_.tiles.store_ordinary[kernel]});
  }

  bool empty() const { return steps_.empty(); }

  // The bits of which one must be set in a number that is not NaN, else it comes out as it is. `flush`:
  // subnormal numbers may, too: they are zero for whoever reads them. `rounded`: no number has such a bit.
  uint32_t lost(bool flush, bool rounded) const {
    uint32_t bits = 0;
    for (const Step& step : steps_) {
      const auto& [spec, plan] = std::tie(step.spec, step.plan);
      const bool keeps = spec.exponent_bits == 8 && spec.saturate == 0 && (spec.flush == 0 || flush);
      bits |= keeps ? plan.dropped_mask : ~0u;
    }
    return rounded && bits != ~0u ? 0 : bits;
  }

  // Rounds on the way from one place to another; not stochastically.
  void operator()(const float* from, float* to, int64_t count) const {
    if (steps_.empty()) std::memcpy(to, from, static_cast<size_t>(count) * sizeof(float));
    for (const Step& step : steps_) {
      step.round(step.plan, RandomKey{}, from, to, 0, count, false);
      from = to;
    }
  }

  // The same of rows.
  void operator()(const float* from, int64_t from_stride, int64_t rows, int64_t columns, float* to,
                  int64_t to_stride) const {
    round_up_to(kInfinity, from, from_stride, rows, columns, to, to_stride);
  }

  // The same, of numbers whose magnitude does not exceed `largest`; unless that is infinity, none of them is
  // NaN or subnormal.
  void round_up_to(uint32_t largest, const float* from, int64_t from_stride, int64_t rows,
                   int64_t columns, float* to, int64_t to_stride) const {
    if (steps_.empty()) {
      kernels_.tiles.copy_lines(from, from_stride, rows, columns, to, to_stride);
    }
    for (const Step& step : steps_) {
      const bool ordinary = step.spec.exponent_bits == 8 && largest <= step.plan.max;
      const StoreFunction store = ordinary ? step.store_ordinary : step.store;
      store(step.plan, from, from_stride, rows, columns, to, to_stride);
      from = to;
      from_stride = to_stride;
      largest = kInfinity;
    }
  }

  // The same in place.
  void operator()(float* numbers, int64_t count) const {
    if (!steps_.empty()) (*this)(numbers, numbers, count);
  }

 private:
  struct Step {
    CastSpec spec;
    Plan plan;
    RoundFunction round;
    StoreFunction store, store_ordinary;
  };

  const Kernels& kernels_;
  std::vector<Step> steps_;
};

}  // namespace onnxbf

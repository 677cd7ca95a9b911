// What will soon be read or written, and is far away: tiles ask for it, bit by bit, while they add products.
// Asked for all at once, it would keep the CPU waiting: a core has but some ten requests under way.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "instruction_sets.h"

namespace onnxbf {

class Ahead {
 public:
  Ahead() = default;
  Ahead(const Ahead&) = delete;

  // More than there is room for are left out.
  void add(const float* from, int64_t step, int64_t count) {
    if (count > 0 && used_ < kMost) places_[used_++] = {from, step, count};
  }

  // All of them, and then the same over and over, near by.
  Places* places() {
    places_[used_] = {&own_, 0, INT64_MAX};
    return places_.data();
  }

  void ask_for_all() const {
    for (size_t i = 0; i < used_; ++i) {
      const Places& places = places_[i];
      for (int64_t k = 0; k < places.count; ++k) {
        __builtin_prefetch(places.from + k * places.step);
        __builtin_prefetch(places.from + k * places.step + kCacheLine);
      }
    }
  }

 private:
  static constexpr size_t kMost = 10;

  float own_ = 0;
  size_t used_ = 0;
  std::array<Places, kMost + 1> places_;
};

}  // namespace onnxbf

// Sizes that parts of a size fill.
#pragma once

namespace onnxbf {

// How many parts of size `by` hold `number`.
template <class Integer>
constexpr Integer divide_up(Integer number, Integer by) {
  return (number + by - 1) / by;
}

// The least multiple of `by` that is not below `number`.
template <class Integer>
constexpr Integer fill_up(Integer number, Integer by) {
  return divide_up(number, by) * by;
}

}  // namespace onnxbf

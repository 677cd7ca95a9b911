// What a convolution is of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <numeric>
#include <vector>

namespace onnxbf {

using Sizes = std::vector<int64_t>;

inline int64_t product_of(const Sizes& sizes) {
  return std::accumulate(sizes.begin(), sizes.end(), int64_t{1}, std::multiplies<>());
}

// Of any number of spatial dimensions: three at least, the first of which have size 1 where there are fewer.
struct ConvShape {
  int64_t images, groups;
  int64_t channels, maps;  // of input and output in each group
  Sizes in, out, kernel, strides, dilations, pads;  // pads: at the beginning

  size_t dimensions() const { return in.size(); }
  int64_t in_size() const { return product_of(in); }
  int64_t out_size() const { return product_of(out); }
  int64_t taps() const { return product_of(kernel); }
};

}  // namespace onnxbf

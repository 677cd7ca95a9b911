// What a convolution is of.
#pragma once

#include <cstdint>

namespace onnxbf {

// Always three spatial dimensions, the first of which have size 1 where there are fewer.
struct ConvShape {
  int64_t images, groups;
  int64_t channels, maps;  // of input and output in each group
  int64_t in[3], out[3], kernel[3], strides[3], dilations[3], pads[3];  // pads: at the beginning

  int64_t in_size() const { return in[0] * in[1] * in[2]; }
  int64_t out_size() const { return out[0] * out[1] * out[2]; }
  int64_t taps() const { return kernel[0] * kernel[1] * kernel[2]; }
};

}  // namespace onnxbf

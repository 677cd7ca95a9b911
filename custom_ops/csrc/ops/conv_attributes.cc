#include "ops/conv_attributes.h"

#include <algorithm>

namespace onnxbf {
namespace {

enum AutoPad : int32_t { kNotSet, kSameUpper, kSameLower, kValid };

constexpr size_t kFewestDimensions = 3;

int64_t value_of(const Sizes& sizes, size_t i, int64_t fallback, size_t count) {
  if (sizes.empty()) return fallback;
  if (sizes.size() == count) return sizes[i];
  throw ort::Error("every attribute that is a list must fit the dimensions of x.");
}

int64_t reach_of(const ConvShape& shape, size_t d) {
  return (shape.kernel[d] - 1) * shape.dilations[d] + 1;
}

void check_ranks(const Sizes& x, const Sizes& w) {
  if (x.size() < 3 || w.size() != x.size()) {
    throw ort::Error("x and w must have the same rank, 3 or more.");
  }
}

}  // namespace

ConvAttributes::ConvAttributes(const ort::KernelAttributes& node)
    : auto_pad_(node.choice("auto_pad", {"NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"})),
      group_(node.integer("group", 1, 1, INT32_MAX)),
      kernel_(node.integers("kernel_shape")),
      pads_(node.integers("pads")),
      strides_(node.integers("strides")),
      dilations_(node.integers("dilations")) {}

ConvShape ConvAttributes::begin_shape(int64_t images, const Sizes& w, size_t dimensions) const {
  if (!kernel_.empty() && kernel_ != Sizes(w.begin() + 2, w.end())) {
    throw ort::Error("kernel_shape is not that of w.");
  }
  const size_t all = std::max(dimensions, kFewestDimensions);
  const Sizes ones(all, 1);
  ConvShape shape{images, group_, w[1], w[0] / group_, ones, ones, ones, ones, ones, Sizes(all)};
  for (size_t i = 0; i < dimensions; ++i) {
    const size_t d = all - dimensions + i;
    shape.kernel[d] = w[i + 2];
    shape.strides[d] = value_of(strides_, i, 1, dimensions);
    shape.dilations[d] = value_of(dilations_, i, 1, dimensions);
    if (shape.strides[d] < 1 || shape.dilations[d] < 1 || shape.kernel[d] < 1) {
      throw ort::Error("strides, dilations and the sizes of a kernel must be positive.");
    }
  }
  return shape;
}

ConvShape ConvAttributes::begin_shape(const Sizes& x, const Sizes& w) const {
  check_ranks(x, w);
  if (w[0] % group_ != 0 || x[1] != w[1] * group_) {
    throw ort::Error("the shapes of x and w do not fit each other.");
  }
  ConvShape shape = begin_shape(x[0], w, x.size() - 2);
  std::copy(x.begin() + 2, x.end(), shape.in.end() - static_cast<int64_t>(x.size() - 2));
  return shape;
}

int64_t ConvAttributes::first_pad(const ConvShape& shape, size_t d, size_t dimensions,
                                  int64_t reach, int64_t& both) const {
  const size_t i = d + dimensions - shape.dimensions();
  const int64_t begin = value_of(pads_, i, 0, 2 * dimensions);
  both = begin + value_of(pads_, i + dimensions, 0, 2 * dimensions);
  if (auto_pad_ == kNotSet) return begin;
  const int64_t spanned = (shape.out[d] - 1) * shape.strides[d] + reach;
  both = auto_pad_ == kValid ? 0 : std::max<int64_t>(spanned - shape.in[d], 0);
  return auto_pad_ == kSameUpper ? both / 2 : both - both / 2;
}

ConvShape ConvAttributes::shape(const Sizes& x, const Sizes& w) const {
  ConvShape shape = begin_shape(x, w);
  const size_t dimensions = x.size() - 2;
  const bool same = auto_pad_ == kSameUpper || auto_pad_ == kSameLower;
  for (size_t d = shape.dimensions() - dimensions; d < shape.dimensions(); ++d) {
    const int64_t stride = shape.strides[d], reach = reach_of(shape, d);
    int64_t both = 0;
    shape.out[d] = (shape.in[d] + stride - 1) / stride;
    shape.pads[d] = first_pad(shape, d, dimensions, reach, both);
    if (same) continue;
    if (shape.in[d] + both < reach) {
      throw ort::Error("the kernel is larger than the padded x.");
    }
    shape.out[d] = (shape.in[d] + both - reach) / stride + 1;
  }
  return shape;
}

ConvShape ConvAttributes::shape(const Sizes& x, const Sizes& w, const Sizes& dy) const {
  if (dy.size() != x.size()) throw ort::Error("dy, x and w must have the same rank, 3 or more.");
  ConvShape shape = begin_shape(x, w);
  if (dy[1] != w[0] || dy[0] != x[0]) {
    throw ort::Error("the shapes of dy, x and w do not fit each other.");
  }
  const size_t dimensions = x.size() - 2;
  for (size_t d = shape.dimensions() - dimensions; d < shape.dimensions(); ++d) {
    const int64_t reach = reach_of(shape, d);
    int64_t both = 0;
    shape.out[d] = dy[d + x.size() - shape.dimensions()];
    shape.pads[d] = first_pad(shape, d, dimensions, reach, both);
    if ((shape.in[d] + both - reach) / shape.strides[d] + 1 != shape.out[d]) {
      throw ort::Error("the shape of dy is not that of the convolution of x by w.");
    }
  }
  return shape;
}

ConvTransposeAttributes::ConvTransposeAttributes(const ort::KernelAttributes& node)
    : ConvAttributes(node),
      output_padding_(node.integers("output_padding")),
      output_shape_(node.integers("output_shape")) {}

ConvShape ConvTransposeAttributes::shape(const Sizes& x, const Sizes& w) const {
  check_ranks(x, w);
  if (x[1] != w[0] || w[0] % group_ != 0) {
    throw ort::Error("the shapes of x and w do not fit each other.");
  }
  const size_t dimensions = x.size() - 2;
  ConvShape shape = begin_shape(x[0], w, dimensions);
  for (size_t d = shape.dimensions() - dimensions; d < shape.dimensions(); ++d) {
    shape.out[d] = x[d + x.size() - shape.dimensions()];
    place(shape, d, dimensions);
    if (shape.in[d] < 0) throw ort::Error("the padding is larger than y.");
  }
  return shape;
}

// As ONNX Runtime: a size that is asked for, or follows from auto_pad, says how much is cut off, and what is
// missing to it stands at the end.
void ConvTransposeAttributes::place(ConvShape& shape, size_t d, size_t dimensions) const {
  const size_t i = d + dimensions - shape.dimensions();
  const int64_t stride = shape.strides[d];
  const int64_t whole = (shape.out[d] - 1) * stride + reach_of(shape, d) +
                        value_of(output_padding_, i, 0, dimensions);
  const bool same = auto_pad_ == kSameUpper || auto_pad_ == kSameLower;
  if (output_shape_.empty() && !same) {
    const bool padded = auto_pad_ == kNotSet;
    const int64_t begin = padded ? value_of(pads_, i, 0, 2 * dimensions) : 0;
    const int64_t end = padded ? value_of(pads_, i + dimensions, 0, 2 * dimensions) : 0;
    shape.pads[d] = begin;
    shape.in[d] = whole - begin - end;
    return;
  }
  const int64_t wanted = value_of(output_shape_, i, shape.out[d] * stride, dimensions);
  const int64_t both = std::max<int64_t>(whole - wanted, 0);
  shape.pads[d] = auto_pad_ == kSameUpper ? both / 2 : both - both / 2;
  shape.in[d] = output_shape_.empty() ? whole - both : wanted;
}

}  // namespace onnxbf

// The attributes that ONNX's Conv, its gradients and ConvTranspose have in common.
#pragma once

#include "conv_shape.h"
#include "ops/node.h"

namespace onnxbf {

class ConvAttributes {
 public:
  explicit ConvAttributes(const ort::KernelAttributes& node);

  // Throw ort::Error where the shapes do not fit each other; without `dy`, the outputs follow from the
  // rest.
  ConvShape shape(const Sizes& x, const Sizes& w) const;
  ConvShape shape(const Sizes& x, const Sizes& w, const Sizes& dy) const;

 protected:
  // All but the sizes and the pads, of which there are `dimensions`, or three if that is more.
  ConvShape begin_shape(int64_t images, const Sizes& w, size_t dimensions) const;

  int32_t auto_pad_;
  int64_t group_;
  Sizes kernel_, pads_, strides_, dilations_;

 private:
  ConvShape begin_shape(const Sizes& x, const Sizes& w) const;
  // The padding before the first input, once the size of the output is known.
  int64_t first_pad(const ConvShape& shape, size_t d, size_t dimensions, int64_t reach,
                    int64_t& both) const;
};

// Those of ConvTranspose.
class ConvTransposeAttributes : public ConvAttributes {
 public:
  explicit ConvTransposeAttributes(const ort::KernelAttributes& node);

  // Of the convolution of whose input it computes the gradient: x is that of its output. Throws as
  // above.
  ConvShape shape(const Sizes& x, const Sizes& w) const;

 private:
  void place(ConvShape& shape, size_t d, size_t dimensions) const;

  Sizes output_padding_, output_shape_;
};

}  // namespace onnxbf

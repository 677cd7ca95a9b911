// The attributes that ONNX's Conv and its gradients have in common.
#pragma once

#include "conv_shape.h"
#include "ops/node.h"

namespace onnxbf {

class ConvAttributes {
 public:
  explicit ConvAttributes(const ort::KernelAttributes& node);

  // Of 1 to 3 spatial dimensions. Throw ort::Error where the shapes do not fit each other; without
  // `dy`, the outputs follow from the rest.
  ConvShape shape(const std::vector<int64_t>& x, const std::vector<int64_t>& w) const;
  ConvShape shape(const std::vector<int64_t>& x, const std::vector<int64_t>& w,
                  const std::vector<int64_t>& dy) const;

 private:
  ConvShape begin_shape(const std::vector<int64_t>& x, const std::vector<int64_t>& w) const;
  // The padding before the first input, once the size of the output is known.
  int64_t first_pad(const ConvShape& shape, size_t d, size_t dimensions, int64_t reach,
                    int64_t& both) const;

  int32_t auto_pad_;
  int64_t group_;
  std::vector<int64_t> kernel_, pads_, strides_, dilations_;
};

}  // namespace onnxbf

// The operands of matrix products: tensors whose last two dimensions are rows and columns.
#pragma once

#include <vector>

#include "gemm.h"
#include "ops/node.h"

namespace onnxbf {

using Shape = std::vector<int64_t>;

Shape strides_of(const Shape& shape);
// Numbers as ONNX's Transpose takes dimensions; as they are without an order.
Shape in_order(const Shape& numbers, const Shape& order);
// Where the elements of a tensor of this shape stand by these strides, one after the other.
Shape places_of(const Shape& shape, const Shape& strides);
// The batch dimensions of both, broadcast against each other as in NumPy; false: they do not fit.
bool broadcast(const Shape& a, const Shape& b, Shape& result);

struct Operand {
  // `is_left`: a vector counts as a row, else as a column. `order`: of the tensor's dimensions.
  Operand(const ort::Tensor& tensor, const Shape& order, bool is_left, bool transposed);

  const float* data;
  Shape shape, strides, batch;  // strides: of the batch
  bool is_vector;
  int64_t rows, columns, row_stride, column_stride;
};

// `batch`: of all products. `outer`, `inner`: strides, see Factor.
Factor make_factor(const Operand& operand, const Shape& batch, int64_t outer, int64_t inner);

}  // namespace onnxbf

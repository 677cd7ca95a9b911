#include "ops/operand.h"

#include <algorithm>
#include <utility>

namespace onnxbf {
namespace {

int64_t product_of(const Shape& shape) {
  int64_t product = 1;
  for (const int64_t size : shape) product *= size;
  return product;
}

// Which matrix of an operand each product of the batch takes.
std::vector<int64_t> used_matrices(const Shape& own, const Shape& batch) {
  std::vector<int64_t> used(static_cast<size_t>(product_of(batch)));
  const size_t missing = batch.size() - own.size();
  for (size_t product = 0; product < used.size(); ++product) {
    int64_t rest = static_cast<int64_t>(product), index = 0, stride = 1;
    for (size_t i = batch.size(); i-- > 0; rest /= batch[i]) {
      if (i < missing) continue;
      const int64_t size = own[i - missing];
      index += (size != 1 ? rest % batch[i] : 0) * stride;
      stride *= size;
    }
    used[product] = index;
  }
  return used;
}

}  // namespace

Shape strides_of(const Shape& shape) {
  Shape strides(shape.size());
  int64_t stride = 1;
  for (size_t i = shape.size(); i-- > 0; stride *= shape[i]) strides[i] = stride;
  return strides;
}

Shape in_order(const Shape& numbers, const Shape& order) {
  if (order.empty()) return numbers;
  Shape result;
  for (const int64_t i : order) result.push_back(numbers[static_cast<size_t>(i)]);
  return result;
}

Shape places_of(const Shape& shape, const Shape& strides) {
  Shape places{0};
  for (size_t i = 0; i < shape.size(); ++i) {
    Shape next;
    for (const int64_t place : places) {
      for (int64_t k = 0; k < shape[i]; ++k) next.push_back(place + k * strides[i]);
    }
    places.swap(next);
  }
  return places;
}

Operand::Operand(const ort::Tensor& tensor, const Shape& order, bool is_left, bool transposed)
    : data(static_cast<const float*>(tensor.data)),
      shape(in_order(tensor.shape, order)),
      strides(in_order(strides_of(tensor.shape), order)) {
  is_vector = shape.size() == 1;
  if (is_vector) {
    strides.insert(is_left ? strides.begin() : strides.end(), is_left ? shape[0] : 1);
    shape.insert(is_left ? shape.begin() : shape.end(), 1);
  }
  rows = shape[shape.size() - 2];
  columns = shape.back();
  row_stride = strides[strides.size() - 2];
  column_stride = strides.back();
  if (transposed && !is_vector) {
    std::swap(rows, columns);
    std::swap(row_stride, column_stride);
  }
  batch.assign(shape.begin(), shape.end() - 2);
  strides.resize(batch.size());
}

bool broadcast(const Shape& a, const Shape& b, Shape& result) {
  result.assign(std::max(a.size(), b.size()), 1);
  for (size_t i = 0; i < result.size(); ++i) {
    const auto size = [&](const Shape& shape) {
      const size_t missing = result.size() - shape.size();
      return i < missing ? 1 : shape[i - missing];
    };
    if (size(a) != size(b) && size(a) != 1 && size(b) != 1) return false;
    result[i] = size(a) != 1 ? size(a) : size(b);
  }
  return true;
}

Factor make_factor(const Operand& operand, const Shape& batch, int64_t outer, int64_t inner) {
  Factor factor{{}, used_matrices(operand.batch, batch), outer, inner, std::nullopt};
  for (const int64_t place : places_of(operand.batch, operand.strides)) {
    factor.matrices.push_back(operand.data + place);
  }
  return factor;
}

}  // namespace onnxbf

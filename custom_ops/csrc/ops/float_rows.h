// What operators along rows of float32 numbers have in common.
#pragma once

#include <algorithm>

#include "ops/node.h"

namespace onnxbf {

struct RowShape {
  int64_t rows, width;
};

// Rows are the dimensions from `axis` on, which may count from the last one.
inline RowShape row_shape(const std::vector<int64_t>& sizes, int64_t axis) {
  const auto rank = static_cast<int64_t>(sizes.size());
  if (axis < 0) axis += rank;
  if (axis < 0 || axis >= rank) throw ort::Error("axis is no dimension of x.");
  RowShape shape{1, 1};
  for (int64_t i = 0; i < rank; ++i) {
    (i < axis ? shape.rows : shape.width) *= sizes[static_cast<size_t>(i)];
  }
  return shape;
}

// Calls body(first, count) for some rows at a time, as many as are worth a thread.
template <class Body>
void for_some_rows(const ort::Context& context, const RowShape& shape, const Body& body) {
  constexpr int64_t kTaskNumbers = int64_t{1} << 14;
  const int64_t together = std::max<int64_t>(kTaskNumbers / std::max<int64_t>(shape.width, 1), 1);
  context.parallel_tasks((shape.rows + together - 1) / together, [&](int64_t task) {
    const int64_t first = task * together;
    body(first, std::min(together, shape.rows - first));
  });
}

}  // namespace onnxbf

#include "results.h"

#include <algorithm>
#include <utility>

#include "pack.h"

namespace onnxbf {

Results::Results(const Kernels& kernels, const Arithmetic& arithmetic, const Product& product)
    : tiles_(kernels.tiles),
      product_(product),
      sums_cast_(kernels, {arithmetic.result}),
      result_cast_(kernels, {product.result}),
      both_casts_(kernels, {arithmetic.result, product.result}),
      flushes_(arithmetic.flush) {}

void Results::ask_ahead(const Block& block, Ahead& ahead) const {
  if (!stores_rows() && product_.then == nullptr) return;
  const Epilogue::Part results = part(block);
  const int64_t row = block.first * tiles_.rows;
  ahead.add(product_.out_row(block.batch, row) + results.column, product_.row_stride(), results.lines);
  if (product_.then != nullptr) product_.then->ask_ahead(results, ahead);
}

void Results::finish(const Block& block, float* sums, uint32_t largest) const {
  const int64_t first_column = block.column * tiles_.columns;
  const int64_t columns = std::min(tiles_.columns, product_.columns - first_column);
  const int64_t first_row = block.first * tiles_.rows;
  const int64_t rows = std::min(block.last * tiles_.rows, product_.rows) - first_row;
  float* out = product_.out_row(block.batch, first_row) + first_column;
  if (stores_rows()) {
    const uint32_t known = flushes_ ? std::min(largest, kInfinity) : kInfinity;
    return both_casts_.round_up_to(known, sums, tiles_.columns, rows, columns, out,
                                   product_.row_stride());
  }
  const int64_t count = rows * tiles_.columns;
  sums_cast_(sums, count);
  const bool scales = product_.alpha != 1 || product_.c != nullptr;
  for (int64_t i = 0; i < rows && scales; ++i) {
    scale(sums + i * tiles_.columns, block.batch, first_row + i, first_column, columns);
  }
  if (is_in_order() && product_.then == nullptr) {
    return result_cast_(sums, tiles_.columns, rows, columns, out, product_.row_stride());
  }
  result_cast_(sums, count);
  if (product_.then != nullptr) {
    return product_.then->run(part(block), sums, out, product_.row_stride());
  }
  for (int64_t i = 0; i < rows; ++i) {
    put(sums + i * tiles_.columns, first_column, columns,
        product_.out_row(block.batch, first_row + i));
  }
}

// Whether sums are but rounded on their way to where they stand in order.
bool Results::stores_rows() const {
  return product_.alpha == 1 && product_.c == nullptr && product_.then == nullptr &&
         is_in_order();
}

void Results::put(const float* results, int64_t first, int64_t count, float* row) const {
  const int64_t stride = product_.out_column_stride;
  if (product_.places.empty()) {
    for (int64_t j = 0; j < count; ++j) row[(first + j) * stride] = results[j];
    return;
  }
  for (int64_t j = 0; j < count; ++j) {
    row[product_.places[static_cast<size_t>(first + j)]] = results[j];
  }
}

void Results::scale(float* results, int64_t batch, int64_t row, int64_t first_column,
                    int64_t columns) const {
  const auto& [alpha, beta] = std::pair(product_.alpha, product_.beta);
  for (int64_t j = 0; j < columns && alpha != 1; ++j) results[j] *= alpha;
  if (product_.c == nullptr) return;
  const float* c = product_.c + row * product_.c_row_stride;
  if (!product_.c_first.empty()) c += product_.c_first[static_cast<size_t>(batch)];
  const int64_t step = product_.c_column_stride;
  if (step == 0) {
    const float term = beta != 1 ? beta * c[0] : c[0];
    for (int64_t j = 0; j < columns; ++j) results[j] += term;
    return;
  }
  for (int64_t j = 0; j < columns; ++j) {
    const float term = c[(first_column + j) * step];
    results[j] += beta != 1 ? beta * term : term;
  }
}

// Which of the results the sums of a block are.
Epilogue::Part Results::part(const Block& block) const {
  const int64_t row = block.first * tiles_.rows, column = block.column * tiles_.columns;
  return {tiles_.columns, block.batch * product_.rows + row,
          std::min(block.last * tiles_.rows, product_.rows) - row, column,
          std::min(tiles_.columns, product_.columns - column)};
}

}  // namespace onnxbf

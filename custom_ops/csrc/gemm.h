// Matrix products under an arithmetic profile (arithmetic.h).
//
// onnxbf/dot.py is their specification: each element of the result is the dot product of a row and a
// column, the same bits on every instruction set and for any number of threads.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "arithmetic.h"
#include "images.h"
#include "instruction_sets.h"

namespace onnxbf {

// Calls body(i) for each i of [0, count), on as many threads as the caller has.
using ParallelFor = std::function<void(int64_t count, const std::function<void(int64_t)>& body)>;

// Some rows of a (columns of b) and products of a panel: number k of row i goes to to[places[k - begin] + i].
// What is not written is zero.
struct PanelPart {
  int64_t first, count;  // rows
  int64_t begin, end;    // products
  const int64_t* places;
  float* to;
};

// One factor of a batch of products. Strides count numbers.
struct Factor {
  std::vector<const float*> matrices;  // the distinct ones
  std::vector<int64_t> used;           // which of them each product of the batch takes
  int64_t outer_stride;                // from row to row of `a`, from column to column of `b`
  int64_t inner_stride;                // along the sums
  std::optional<CastSpec> cast;        // rounds it beforehand
  int64_t run = 0, run_stride = 0;     // after so many products the next run begins; 0: one run
  std::shared_ptr<const Images> images = nullptr;  // of `b`, which then has no matrices
  bool rounded = false;  // no number, NaNs among them, has a bit in its mantissa that a cast of it would drop
};

class Epilogue;

struct Product {
  int64_t rows, columns, inner;
  Factor a, b;
  float* out;  // rows x columns each, one product after the other, unless out_first says otherwise

  // out = result(alpha * (a x b) + beta * c), in float32; without c and with alpha 1 nothing is
  // multiplied or added.
  float alpha = 1, beta = 1;
  const float* c = nullptr;
  int64_t c_row_stride = 0, c_column_stride = 0;
  std::vector<int64_t> c_first{};  // where in c each product of the batch begins; empty: at 0
  std::optional<CastSpec> result;
  std::vector<int64_t> places{};  // where in a row of `out` the columns stand; empty: in order
  RandomKey random{};  // of sums that are rounded stochastically; they are fewer than 2^32
  // Where in `out` each product of the batch begins, and how far its rows and columns are apart.
  std::vector<int64_t> out_first{};
  int64_t out_row_stride = 0, out_column_stride = 1;
  // What is done with results, once rounded, before they are written; then `out` has no gaps. nullptr: nothing.
  const Epilogue* then = nullptr;

  int64_t row_stride() const { return out_first.empty() ? columns : out_row_stride; }
  float* out_row(int64_t batch, int64_t row) const {
    if (out_first.empty()) return out + (batch * rows + row) * columns;
    return out + out_first[static_cast<size_t>(batch)] + row * out_row_stride;
  }
};

void multiply(const Kernels& kernels, const Arithmetic& arithmetic, const Product& product,
              const ParallelFor& parallel);

}  // namespace onnxbf

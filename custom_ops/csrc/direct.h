// Columns of a matrix product that kernels take from images as they lie, without packing them.
#pragma once

#include <cstdint>

#include "panels.h"

namespace onnxbf {

// A vector of columns in two runs: lane i stands at first + i, from lane `split` on at second + i.
struct DirectVector {
  int64_t first, second, split;
};

constexpr int64_t kMostVectors = 4;  // of a panel, on every instruction set

struct DirectColumns {
  bool fits;    // whether there are two runs at most in each vector
  bool splits;  // whether there are two in some
  DirectVector vectors[kMostVectors];
};

// `outer`: where `count` columns stand. `vectors`, of so many lanes: of which a panel consists; kLongestVector
// numbers behind the last of an image may be read.
DirectColumns find_columns(const int64_t* outer, int64_t count, int64_t lanes, int64_t vectors);

// Adds `count` products to each of a tile of sums of which so many rows are used, in FP32 (`flush`: see
// Arithmetic): product k of column i is with what stands at image + inner[k] and the column's place.
using DirectFunction = void (*)(int64_t rows, bool flush, int64_t count, const float* a,
                                const float* image, const int64_t* inner,
                                const DirectColumns& columns, float* sums);

}  // namespace onnxbf

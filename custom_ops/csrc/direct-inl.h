// Tiles of dot products with columns of images (direct.h), for one instruction set.
#pragma once

#include "direct.h"
#include "gemm-inl.h"

namespace onnxbf::ONNXBF_INSTRUCTION_SET {
namespace {

static_assert(kVectors <= kMostVectors);

// Some vectors of an image.
template <bool kSplit>
struct ImageVectors {
  explicit ImageVectors(const DirectColumns& columns) {
    for (int64_t v = 0; v < kVectors; ++v) {
      const DirectVector& vector = columns.vectors[v];
      first[v] = vector.first;
      if constexpr (kSplit) {
        int32_t lanes[kLanes];
        for (int64_t i = 0; i < kLanes; ++i) lanes[i] = i < vector.split ? -1 : 0;
        in_first[v] = load<Int>(lanes);
        second[v] = vector.split < kLanes ? vector.second : vector.first;
      }
    }
  }

  Float at(const float* image, int64_t v) const {
    const Float lanes = load<Float>(image + first[v]);
    if constexpr (kSplit) return in_first[v] ? lanes : load<Float>(image + second[v]);
    return lanes;
  }

  int64_t first[kVectors], second[kVectors];
  Int in_first[kVectors];
};

template <int64_t kCount, bool kSplit>
void add_direct(bool flush, int64_t count, const float* a, const float* image,
                const int64_t* inner, const DirectColumns& columns, float* sums) {
  const ImageVectors<kSplit> vectors(columns);
  const AddFloat32 step{flush};
  Registers<kCount> tile;
  tile.load_from(sums);
  for (int64_t k = 0; k < count; ++k, a += kRows) {
    const float* from = image + inner[k];
    Float right[kVectors];
    ONNXBF_UNROLL
    for (int64_t v = 0; v < kVectors; ++v) right[v] = vectors.at(from, v);
    step(a, right, tile.sums);
  }
  tile.store_to(sums);
}

template <int64_t kCount = kRows>
void direct(int64_t rows, bool flush, int64_t count, const float* a, const float* image,
            const int64_t* inner, const DirectColumns& columns, float* sums) {
  if constexpr (kCount > 1) {
    if (rows < kCount) {
      return direct<kCount - 1>(rows, flush, count, a, image, inner, columns, sums);
    }
  }
  if (columns.splits) {
    add_direct<kCount, true>(flush, count, a, image, inner, columns, sums);
  } else {
    add_direct<kCount, false>(flush, count, a, image, inner, columns, sums);
  }
}

}  // namespace
}  // namespace onnxbf::ONNXBF_INSTRUCTION_SET

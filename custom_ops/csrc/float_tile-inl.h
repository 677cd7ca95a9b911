// Tiles of sums that stay in registers, and float32 multiply-adds that go to them: each sum has a lane of its own.
#pragma once

#include "instruction_sets.h"
#include "rounding-inl.h"

namespace onnxbf::ONNXBF_INSTRUCTION_SET {
namespace {

constexpr int64_t kColumns = kVectors * kLanes;

#if defined(ONNXBF_ONE_LANE)
inline Float spread(float number) { return number; }
inline float lane(Float lanes, int64_t) { return lanes; }
#else
inline Float spread(float number) { return number - Float{}; }  // - keeps the sign of -0
inline float lane(Float lanes, int64_t i) { return lanes[i]; }
#endif

constexpr int64_t kProductsAhead = 8;

// Asks for what products to come read of a panel of b, which may come from afar.
inline void prefetch_right(const float* b) {
  if constexpr (kColumns >= kCacheLine) {
    ONNXBF_UNROLL
    for (int64_t i = 0; i < kColumns; i += kCacheLine) {
      __builtin_prefetch(b + kProductsAhead * kColumns + i);
    }
  }
}

// And of one of a, from the next cache.
inline void prefetch_operands(const float* a, const float* b) {
  prefetch_right(b);
  if constexpr (kColumns >= kCacheLine) __builtin_prefetch(a + 2 * kProductsAhead * kRows);
}

inline void load_right(const float* b, Float (&right)[kVectors]) {
  ONNXBF_UNROLL
  for (int64_t v = 0; v < kVectors; ++v) right[v] = load<Float>(b + v * kLanes);
}

// Sums of kCount rows that stay in registers.
template <int64_t kCount>
struct Registers {
  Float sums[kCount][kVectors];

  template <class Body>
  void each(float* tile, const Body& body) {
    ONNXBF_UNROLL
    for (int64_t row = 0; row < kCount; ++row) {
      ONNXBF_UNROLL
      for (int64_t v = 0; v < kVectors; ++v) body(sums[row][v], tile + row * kColumns + v * kLanes);
    }
  }

  void load_from(float* tile) {
    each(tile, [](Float& sum, float* at) { sum = load<Float>(at); });
  }
  void store_to(float* tile) {
    each(tile, [](Float& sum, float* at) { store(at, sum); });
  }
  // Magnitude, above kInfinity where one is NaN.
  uint32_t largest() const {
    Word found{};
    ONNXBF_UNROLL
    for (int64_t row = 0; row < kCount; ++row) {
      ONNXBF_UNROLL
      for (int64_t v = 0; v < kVectors; ++v) {
        found = larger_of(found, bits_of(sums[row][v]) & ~kSign);
      }
    }
    return largest_lane(found);
  }

  // step(a, right, sums) for each product, of which there are some.
  template <class Step>
  void add(const Step& step, int64_t count, const float* a, const float* b) {
    const float* end = b + count * kColumns;
    do {
      Float right[kVectors];
      load_right(b, right);
      prefetch_operands(a, b);
      step(a, right, sums);
      a += kRows;
      b += kColumns;
    } while (b != end);
  }
};

// sum = add(left, right, sum) for each of a tile's, of one product. `of_row(row)`: the left number.
template <int64_t kCount, class OfRow, class Add>
inline void each_sum(const OfRow& of_row, const Float* right, Float (&sums)[kCount][kVectors],
                     const Add& add) {
  ONNXBF_UNROLL
  for (int64_t row = 0; row < kCount; ++row) {
    const Float left = spread(of_row(row));
    ONNXBF_UNROLL
    for (int64_t v = 0; v < kVectors; ++v) sums[row][v] = add(left, right[v], sums[row][v]);
  }
}

struct AddFloat32 {
  bool flush;

  template <int64_t kCount>
  void operator()(const float* a, const Float* right, Float (&sums)[kCount][kVectors]) const {
    of_rows([&](int64_t row) { return a[row]; }, right, sums);
  }
  // The same of left numbers that stand elsewhere.
  template <int64_t kCount, class OfRow>
  void of_rows(const OfRow& of_row, const Float* right, Float (&sums)[kCount][kVectors]) const {
    each_sum(of_row, right, sums, [&](Float left, Float each, Float sum) {
      return multiply_add(left, each, sum, flush);
    });
  }
};

// Addresses of so many rows share a register: x86 multiplies what it adds to an address by 1 and 2.
constexpr int64_t kTogether = 3;

void tile_float32(const Plan&, bool flush, int64_t count, const float* a, const float* b,
                  float* sums) {
  Registers<kRows> tile;
  tile.load_from(sums);
  tile.add(AddFloat32{flush}, count, a, b);
  tile.store_to(sums);
}

template <int64_t kCount = kRows>
void tile_rows(int64_t rows, bool flush, int64_t count, const float* a, const float* b,
               float* sums) {
  if constexpr (kCount > 1) {
    if (rows < kCount) return tile_rows<kCount - 1>(rows, flush, count, a, b, sums);
  }
  Registers<kCount> tile;
  tile.load_from(sums);
  tile.add(AddFloat32{flush}, count, a, b);
  tile.store_to(sums);
}

}  // namespace
}  // namespace onnxbf::ONNXBF_INSTRUCTION_SET

// The tiles of a convolution's gradients (gradients.h), for one instruction set. Each sum has a lane
// of its own and takes its products one by one, so the size of a tile changes no bit.
#pragma once

#include "gemm-inl.h"
#include "gradients.h"

namespace onnxbf::ONNXBF_INSTRUCTION_SET {
namespace {

template <int64_t kTileRows, int64_t kTileVectors>
struct Tile {
  Float sums[kTileRows][kTileVectors] = {};

  void load_from(const float* from, int64_t step) {
    each([&](int64_t r, int64_t v) { sums[r][v] = load<Float>(from + r * step + v * kLanes); });
  }
  void store_to(float* to, int64_t step) const {
    each([&](int64_t r, int64_t v) { store(to + r * step + v * kLanes, sums[r][v]); });
  }
  // Adds the products of a column of numbers and a row of vectors.
  void add(const float* a, const float* b) {
    Float right[kTileVectors];
    ONNXBF_UNROLL
    for (int64_t v = 0; v < kTileVectors; ++v) right[v] = load<Float>(b + v * kLanes);
    ONNXBF_UNROLL
    for (int64_t r = 0; r < kTileRows; ++r) {
      const Float left = spread(a[r]);
      ONNXBF_UNROLL
      for (int64_t v = 0; v < kTileVectors; ++v) {
        sums[r][v] = multiply_add(left, right[v], sums[r][v], false);
      }
    }
  }
  template <class Body>
  static void each(const Body& body) {
    ONNXBF_UNROLL
    for (int64_t r = 0; r < kTileRows; ++r) {
      ONNXBF_UNROLL
      for (int64_t v = 0; v < kTileVectors; ++v) body(r, v);
    }
  }
};

template <int64_t kTileRows, int64_t kTileVectors>
struct WeightTile {
  static void run(const WeightUnit& unit, const float* x, const float* dy, float* sums) {
    Tile<kTileRows, kTileVectors> tile;
    tile.load_from(sums, unit.columns);
    for (int64_t image = 0; image < unit.images; ++image, x += unit.image_step) {
      for (int64_t h = 0; h < unit.height; ++h) {
        const float* a = x + h * unit.row_step;
        for (int64_t w = 0; w < unit.width; ++w, a += unit.column_step, dy += unit.panel) {
          tile.add(a, dy);
        }
      }
    }
    tile.store_to(sums, unit.columns);
  }
};

template <int64_t kTileRows, int64_t kTileVectors>
struct InputTile {
  static void run(const InputUnit& unit, const float* weights, const float* dy, float* sums) {
    Tile<kTileRows, kTileVectors> tile;
    for (int64_t map = 0; map < unit.maps; ++map, dy += unit.plane) {
      for (int64_t tap = 0; tap < unit.tap_count; ++tap, weights += kTileRows) {
        tile.add(weights, dy + unit.taps[tap]);
      }
    }
    tile.store_to(sums, kColumns);
  }
};

// The function of the tile of so many rows and vectors.
template <template <int64_t, int64_t> class Kind, int64_t kTileRows = kRows,
          int64_t kTileVectors = kVectors>
inline auto tile_of(int64_t rows, int64_t vectors) {
  if constexpr (kTileRows > 1) {
    if (rows < kTileRows) return tile_of<Kind, kTileRows - 1, kTileVectors>(rows, vectors);
  }
  if constexpr (kTileVectors > 1) {
    if (vectors < kTileVectors) return tile_of<Kind, kTileRows, kTileVectors - 1>(rows, vectors);
  }
  return &Kind<kTileRows, kTileVectors>::run;
}

// Calls body(first, count) for tiles of at most kRows of `rows`.
template <class Body>
inline void for_row_tiles(int64_t rows, const Body& body) {
  const int64_t tiles = (rows + kRows - 1) / kRows;
  for (int64_t i = 0; i < tiles; ++i) {
    const int64_t first = tile_begin(i, tiles, rows);
    body(first, tile_begin(i + 1, tiles, rows) - first);
  }
}

inline int64_t vectors_of(int64_t numbers) {
  const int64_t vectors = (numbers + kLanes - 1) / kLanes;
  return vectors < kVectors ? vectors : kVectors;
}

void weight_unit(const WeightUnit& unit) {
  const int64_t outputs = unit.images * unit.height * unit.width;
  for (int64_t run = 0; run < unit.run_count; ++run) {
    for_row_tiles(unit.run_length, [&](int64_t first, int64_t rows) {
      const float* x = unit.x + unit.runs[run] + first;
      float* sums = unit.sums + (run * unit.run_length + first) * unit.columns;
      const float* dy = unit.dy;
      for (int64_t i = 0; i < unit.columns; i += unit.panel) {
        const int64_t rest = unit.columns - i < unit.panel ? unit.columns - i : unit.panel;
        tile_of<WeightTile>(rows, vectors_of(rest))(unit, x, dy, sums + i);
        dy += outputs * unit.panel;
      }
    });
  }
}

// Stores a tile's sums, which begin at number `begin` of a plane; those between rows are none.
inline void scatter(const InputUnit& unit, const float* sums, int64_t begin, int64_t end, float* dx,
                    int64_t rows) {
  for (int64_t i = begin; i < end;) {
    const int64_t h = i / unit.row, w = i % unit.row;
    const int64_t rest = end - i < unit.width - w ? end - i : unit.width - w;
    for (int64_t r = 0; r < rows && rest > 0; ++r) {
      const float* from = sums + r * kColumns + (i - begin);
      float* to = dx + r * unit.channel_step + h * unit.row_step + w * unit.column_step;
      for (int64_t k = 0; k < rest; ++k) to[k * unit.column_step] = from[k];
    }
    i += unit.row - w;
  }
}

void input_unit(const InputUnit& unit) {
  const int64_t count = (unit.height - 1) * unit.row + unit.width;
  float sums[kRows * kColumns];
  for_row_tiles(unit.channels, [&](int64_t first, int64_t rows) {
    const float* weights = unit.weights + first * unit.maps * unit.tap_count;
    float* dx = unit.dx + first * unit.channel_step;
    for (int64_t i = 0; i < count; i += kColumns) {
      tile_of<InputTile>(rows, vectors_of(count - i))(unit, weights, unit.dy + i, sums);
      scatter(unit, sums, i, i + kColumns < count ? i + kColumns : count, dx, rows);
    }
  });
}

inline void transpose_block(const float* in, int64_t in_step, float* out, int64_t out_step) {
  const Four a = load<Four>(in), b = load<Four>(in + in_step);
  const Four c = load<Four>(in + 2 * in_step), d = load<Four>(in + 3 * in_step);
  const Four low_ab = ONNXBF_SHUFFLE(a, b, 0, 4, 1, 5), high_ab = ONNXBF_SHUFFLE(a, b, 2, 6, 3, 7);
  const Four low_cd = ONNXBF_SHUFFLE(c, d, 0, 4, 1, 5), high_cd = ONNXBF_SHUFFLE(c, d, 2, 6, 3, 7);
  store(out, ONNXBF_SHUFFLE(low_ab, low_cd, 0, 1, 4, 5));
  store(out + out_step, ONNXBF_SHUFFLE(low_ab, low_cd, 2, 3, 6, 7));
  store(out + 2 * out_step, ONNXBF_SHUFFLE(high_ab, high_cd, 0, 1, 4, 5));
  store(out + 3 * out_step, ONNXBF_SHUFFLE(high_ab, high_cd, 2, 3, 6, 7));
}

// Some columns at a time, so that their rows of `out` stay in the cache.
void transpose(const float* in, int64_t in_step, int64_t rows, int64_t columns, float* out,
               int64_t out_step, int64_t width) {
  constexpr int64_t kBlock = 32;
  for (int64_t begin = 0; begin < columns; begin += kBlock) {
    const int64_t end = begin + kBlock < columns ? begin + kBlock : columns;
    int64_t r = 0;
    for (; r + 4 <= rows; r += 4) {
      const float* from = in + r * in_step;
      int64_t c = begin;
      for (; c + 4 <= end; c += 4) transpose_block(from + c, in_step, out + c * out_step + r, out_step);
      for (; c < end; ++c) {
        for (int64_t k = 0; k < 4; ++k) out[c * out_step + r + k] = from[k * in_step + c];
      }
    }
    for (; r < rows; ++r) {
      for (int64_t c = begin; c < end; ++c) out[c * out_step + r] = in[r * in_step + c];
    }
    for (; r < width; ++r) {
      for (int64_t c = begin; c < end; ++c) out[c * out_step + r] = 0;
    }
  }
}

}  // namespace
}  // namespace onnxbf::ONNXBF_INSTRUCTION_SET

// Tiles of AMX: whether TDPBF16PS can be had here, and the instructions around it.
//
// Source: Intel SDM, volume 1, chapter 18, and TDPBF16PS. What the SDM leaves open (which NaN comes out) was
// found by experiment: see onnxbf/dot.py.
#pragma once

#include <cstdint>

#include "pair_tiles.h"

#if defined(ONNXBF_AMX_KERNELS)
#define ONNXBF_AMX __attribute__((target("amx-tile,amx-bf16")))
#endif

namespace onnxbf {

// Announced, its state enabled, and allowed to this process, which is asked for once (Linux). Unlike other
// instructions it needs no trying: where a hypervisor hides it, its state is not enabled.
bool has_amx();

#if defined(ONNXBF_AMX_KERNELS)

constexpr int64_t kTileBytes = 64;  // of a row

// The tiles of this thread, for as long as an object lives: 0 to 3 of sums, 4 and 5 of rows of so many pairs of
// the left factor, 6 and 7 of so many rows of pairs of the right one.
class Tiles {
 public:
  ONNXBF_AMX explicit Tiles(int64_t pairs) {
    Shape shape{};
    shape.palette = 1;
    for (int tile = 0; tile < 8; ++tile) {
      shape.rows[tile] = kTileRows;
      shape.bytes[tile] = kTileBytes;
    }
    shape.bytes[4] = shape.bytes[5] = static_cast<uint16_t>(4 * pairs);
    shape.rows[6] = shape.rows[7] = static_cast<uint8_t>(pairs);
    __asm__ volatile("ldtilecfg %0" ::"m"(shape) : "memory");
  }
  ONNXBF_AMX ~Tiles() { __asm__ volatile("tilerelease" ::: "memory"); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;

 private:
  struct Shape {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
  };
  static_assert(sizeof(Shape) == 64, "as ldtilecfg reads it");
};

// Not those of the compilers' headers: GCC 12's do not say that they read memory. `stride` in bytes.
template <int kTile>
ONNXBF_AMX inline void load_tile(const void* from, int64_t stride) {
  __asm__ volatile("tileloadd (%1,%2,1), %%tmm%c0" ::"i"(kTile), "r"(from), "r"(stride) : "memory");
}

template <int kTile>
ONNXBF_AMX inline void store_tile(void* to, int64_t stride) {
  __asm__ volatile("tilestored %%tmm%c0, (%1,%2,1)" ::"i"(kTile), "r"(to), "r"(stride) : "memory");
}

template <int kTile>
ONNXBF_AMX inline void clear_tile() {
  __asm__ volatile("tilezero %%tmm%c0" ::"i"(kTile));
}

template <int kSums, int kLeft, int kRight>
ONNXBF_AMX inline void add_tile_products() {
  __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSums), "i"(kLeft), "i"(kRight));
}

#endif

}  // namespace onnxbf

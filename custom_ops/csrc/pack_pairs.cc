// Rows and panels of pairs for pair_tiles.h.
#include <algorithm>

#include "pack.h"

namespace onnxbf {

// Products [begin, end) of a panel. Numbers that are in bfloat16 already go straight to their places.
void Packing::pack_pairs(int64_t matrix, int64_t panel, int64_t begin, int64_t end,
                         uint32_t* to) const {
  const int64_t first = panel * width_, count = std::min(width_, size_ - first);
  if (factor_.images == nullptr && factor_.run == 0 && end <= inner_) {
    const float* from = factor_.matrices[static_cast<size_t>(matrix)] +
                        first * factor_.outer_stride + begin * factor_.inner_stride;
    if (factor_.outer_stride == 1 &&
        (pair_lines(from, factor_.inner_stride, end - begin, count, to) & lost_) == 0) {
      return;
    }
    if (factor_.inner_stride == 1 && pair_rows(from, end - begin, count, to)) return;
  }
  alignas(64) float block[kBlock * kWidest];
  pack_floats(matrix, panel, begin, end, block);
  if (form_ == kPairRows) {  // what fills up a chunk changes no sum; what fills up a pair is zeros
    for (int64_t k = std::max(begin, arithmetic_.depth_of(inner_)); k < end; ++k) {
      std::fill_n(block + (k - begin) * width_, width_, -0.0f);
    }
  }
  pair_lines(block, width_, end - begin, width_, to);
}

// Lines of one number for each of `count` rows (columns). Returns the bits that are set in some of them.
uint32_t Packing::pair_lines(const float* from, int64_t stride, int64_t lines, int64_t count,
                             uint32_t* to) const {
  const PairTiles& table = *tiles_.pair_tiles;
  alignas(64) uint32_t turned[kBlock / 2 * kChunkPairs];
  const bool turns = form_ == kPairRows;
  uint32_t* const lines_to = turns ? turned : to;
  const int64_t width = turns ? kChunkPairs : width_;
  uint32_t bits = 0;
  for (int64_t i = 0; i < lines; i += 2, from += 2 * stride) {
    bits |= table.spread(from, from + stride, count, lines_to + i / 2 * width, 0);
  }
  for (int64_t i = 0; i < lines / 2 && turns; i += kChunkPairs) {
    table.turn(turned + i * width, width, std::min(kChunkPairs, lines / 2 - i), width_, to + i,
               row_words());
  }
  return bits;
}

// Rows of `length` numbers, side by side. False where numbers are to be rounded.
bool Packing::pair_rows(const float* from, int64_t length, int64_t count, uint32_t* to) const {
  const PairTiles& table = *tiles_.pair_tiles;
  const bool turns = form_ == kPairPanels;
  alignas(64) uint32_t rows[kBlock / 2 * kWidest];
  uint32_t* const rows_to = turns ? rows : to;
  const int64_t stride = turns ? kBlock / 2 : row_words();
  uint32_t bits = 0;
  for (int64_t i = 0; i < count; ++i, from += factor_.outer_stride) {
    bits |= table.narrow(from, length, reinterpret_cast<uint16_t*>(rows_to + i * stride));
  }
  if ((bits & lost_) != 0) return false;
  for (int64_t i = 0; i < count && turns; i += kChunkPairs) {
    for (int64_t k = 0; k < length / 2; k += kChunkPairs) {
      table.turn(rows + i * stride + k, stride, std::min(kChunkPairs, count - i),
                 std::min(kChunkPairs, length / 2 - k), to + k * width_ + i, width_);
    }
  }
  return true;
}

// The products [begin, end) of all panels, as Packing::spread has it.
void Packing::spread_pairs(int64_t matrix, int64_t begin, int64_t end) const {
  float* const memory = (*memory_)[matrix * panels_] + floats_of(begin - begin_);
  const auto panel = [&](int64_t i) {
    return reinterpret_cast<uint32_t*>(memory + i * memory_->stride());
  };
  const int64_t stride = factor_.inner_stride;
  const float* from = factor_.matrices[static_cast<size_t>(matrix)] + begin * stride;
  uint32_t bits = 0;
  for (int64_t k = begin; k < end && end <= inner_; k += 2, from += 2 * stride) {
    bits |= tiles_.pair_tiles->spread(from, from + stride, size_,
                                      panel(0) + (k - begin) / 2 * width_, memory_->stride());
  }
  if (end <= inner_ && (bits & lost_) == 0) return;
  for (int64_t i = 0; i < panels_; ++i) pack_pairs(matrix, i, begin, end, panel(i));
}

}  // namespace onnxbf

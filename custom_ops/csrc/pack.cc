#include "pack.h"

#include <algorithm>
#include <cstring>

#include "float_environment.h"
#include "sizes.h"
#include "turn.h"

namespace onnxbf {
namespace {

constexpr int64_t kPartFloats = 1 << 12;

// On bits, not on numbers: compilers make vectors of that.
template <class Change>
void change(float* numbers, int64_t count, const Change& changed) {
  for (int64_t i = 0; i < count; ++i) {
    uint32_t bits;
    std::memcpy(&bits, numbers + i, sizeof bits);
    bits = changed(bits);
    std::memcpy(numbers + i, &bits, sizeof bits);
  }
}

}  // namespace

Panels::Panels(int64_t count, int64_t floats, int64_t apart)
    : stride_((divide_up(floats, kCacheLine) + apart) * kCacheLine),
      memory_(static_cast<size_t>(count * stride_)) {}

Packing::Packing(const Kernels& kernels, const Arithmetic& arithmetic, const Factor& factor,
                 int64_t size, int64_t inner, int64_t width, Form form)
    : arithmetic_(arithmetic),
      factor_(factor),
      size_(size),
      inner_(inner),
      depth_(depth_of(arithmetic, inner, form)),
      chunk_(arithmetic.chunk_of(inner)),
      width_(width),
      panels_(divide_up(size, width)),
      by_blocks_(factor.outer_stride == 1 && factor.inner_stride != 1),
      flushes_(arithmetic.denormals_in_are_zero &&
               !(arithmetic.operands && arithmetic.operands->flush != 0)),
      form_(form),
      tiles_(kernels.tiles),
      casts_(kernels, {factor.cast, arithmetic.operands}),
      lost_(casts_.lost(arithmetic.flush && FloatEnvironment::kReadsZeros, factor.rounded)),
      gather_(kernels.tiles.gather) {}

void Packing::hold(int64_t begin, int64_t end) {
  if (!memory_ || end - begin > room_) {
    room_ = end - begin;
    const int64_t count = count_matrices() * panels_;
    if (form_ == kPairRows) {  // side by side, and some more rows, for tiles that reach beyond the last one
      memory_.emplace(count + divide_up(kTileRows, width_), width_ * row_words(), 0);
    } else {
      memory_.emplace(count, floats_of(room_));
    }
  }
  begin_ = begin;
  end_ = end;
}

// By blocks, all panels in turn: reading goes along the rows of the matrix in memory.
int64_t Packing::tasks() const {
  return count_matrices() * (by_blocks_ ? blocks() : panels_);
}

int64_t Packing::task_floats() const {
  return by_blocks_ ? panels_ * width_ * kBlock : (end_ - begin_) * width_;
}

int64_t Packing::blocks() const { return divide_up(end_ - begin_, kBlock); }

void Packing::run(int64_t task) const {
  if (!by_blocks_) return fill(task / panels_, task % panels_, begin_, end_, (*memory_)[task]);
  const int64_t matrix = task / blocks(), begin = begin_ + task % blocks() * kBlock;
  const int64_t end = std::min(begin + kBlock, end_);
  if (copies_lines() && form_ != kPairs) return spread(matrix, begin, end);
  if (form_ == kPairPanels && factor_.run == 0) return spread_pairs(matrix, begin, end);
  for (int64_t panel = 0; panel < panels_; ++panel) {
    pack(matrix, panel, begin, end,
         (*memory_)[matrix * panels_ + panel] + floats_of(begin - begin_));
  }
}

// The products [begin, end) of all panels: lines are read from one end to the other, as CPUs foresee it.
void Packing::spread(int64_t matrix, int64_t begin, int64_t end) const {
  float* to = (*memory_)[matrix * panels_] + floats_of(begin - begin_);
  const int64_t count = (end - begin) * width_, last = std::min(end, inner_);
  const auto of_panel = [&](int64_t i) { return to + i * memory_->stride(); };
  for (int64_t i = last < end ? 0 : size_ / width_; i < panels_; ++i) {
    std::fill_n(of_panel(i), count, 0.0f);
  }
  const SpreadFunction spread_lines =
      width_ == tiles_.columns ? tiles_.spread_columns : tiles_.spread_rows;
  const int64_t stride = factor_.inner_stride;
  const uint32_t bits =
      spread_lines(factor_.matrices[static_cast<size_t>(matrix)] + begin * stride, stride,
                   last - begin, size_, {to, memory_->stride(), goes_by_twos()});
  for (int64_t i = 0; i < panels_; ++i) {
    if ((bits & lost_) != 0) casts_(of_panel(i), count);
    clean(of_panel(i), count);
  }
}

int64_t Packing::count_matrices() const {
  return static_cast<int64_t>(factor_.images != nullptr ? factor_.used.size()
                                                        : factor_.matrices.size());
}

void Packing::fill(int64_t matrix, int64_t index, int64_t begin, int64_t end,
                   float* memory) const {
  for (int64_t k = begin; k < end; k += kBlock) {
    pack(matrix, index, k, std::min(k + kBlock, end), memory + floats_of(k - begin));
  }
}

// Where product `k` of a sum stands in a panel.
int64_t Packing::place(int64_t k) const {
  if (arithmetic_.step == kOddFirst) return k ^ 1;
  if (arithmetic_.step != kEvenOdd || is_of_tiles(form_)) return k;
  const int64_t start = k / chunk_ * chunk_;
  const int64_t length = std::min(chunk_, depth_ - start);
  return start + (k - start) / 2 + (k % 2 != 0 ? length / 2 : 0);
}

// The products [begin, end) of one panel; they keep to places [begin, end).
void Packing::pack(int64_t matrix, int64_t panel, int64_t begin, int64_t end,
                   float* memory) const {
  if (is_of_tiles(form_)) {
    return pack_pairs(matrix, panel, begin, end, reinterpret_cast<uint32_t*>(memory));
  }
  if (form_ != kPairs) return pack_floats(matrix, panel, begin, end, memory);
  alignas(64) float block[kBlock * kWidest];
  pack_floats(matrix, panel, begin, end, block);
  pair_up(block, (end - begin) / 2, memory);
}

void Packing::pack_floats(int64_t matrix, int64_t panel, int64_t begin, int64_t end,
                          float* to) const {
  const int64_t first = panel * width_;
  const int64_t count = std::min(width_, size_ - first);
  const int64_t last = std::min(end, inner_);
  if (count < width_ || last < end) std::fill_n(to, (end - begin) * width_, 0.0f);
  int64_t places[kBlock];
  for (int64_t k = begin; k < last; ++k) places[k - begin] = (place(k) - begin) * width_;
  const PanelPart part{first, count, begin, last, places, to};
  if (factor_.images != nullptr) {
    if (begin < last) canvases_->gather(gather_, matrix, part);
  } else if (copies_lines()) {
    const uint32_t bits = copy_lines(factor_.matrices[static_cast<size_t>(matrix)], part);
    if ((bits & lost_) != 0) casts_(to, (end - begin) * width_);
    clean(to, (end - begin) * width_);
  } else {
    copy_runs(factor_.matrices[static_cast<size_t>(matrix)], part);
    finish(to, (end - begin) * width_);
  }
}

// Whether lines of a panel stand in memory as such, in order but for each two that change places.
bool Packing::copies_lines() const {
  return factor_.outer_stride == 1 && factor_.run == 0 && arithmetic_.step != kEvenOdd;
}

// Which bits are set in some of the numbers.
uint32_t Packing::copy_lines(const float* from, const PanelPart& part) const {
  const int64_t apart = goes_by_twos() ? 2 : 1, stride = factor_.inner_stride;
  uint32_t bits = 0;
  for (int64_t i = 0; i < apart && part.begin + i < part.end; ++i) {
    bits |= tiles_.copy_lines(from + part.first + (part.begin + i) * stride, apart * stride,
                              divide_up(part.end - part.begin - i, apart), part.count,
                              part.to + part.places[i], apart * width_);
  }
  return bits;
}

bool Packing::may_stand() const {
  const bool even = inner_ % 2 == 0 || !goes_by_twos();
  return factor_.images == nullptr && factor_.run == 0 && even && !flushes_ && lost_ != ~0u &&
         factor_.inner_stride == 1;
}

int64_t Packing::part_rows() const {
  return std::max<int64_t>(kPartFloats / std::max<int64_t>(inner_, 1), 1);
}

bool Packing::stands(int64_t matrix, int64_t part) const {
  const int64_t first = part * part_rows(), last = std::min(first + part_rows(), size_);
  const int64_t stride = factor_.outer_stride;
  const float* from = factor_.matrices[static_cast<size_t>(matrix)] + first * stride;
  if (stride == inner_) return (tiles_.bits_set(from, (last - first) * inner_) & lost_) == 0;
  uint32_t bits = 0;
  for (int64_t i = first; i < last; ++i, from += stride) bits |= tiles_.bits_set(from, inner_);
  return (bits & lost_) == 0;
}

void Packing::copy_runs(const float* from, const PanelPart& part) const {
  from += part.first * factor_.outer_stride;
  const int64_t run = factor_.run != 0 ? factor_.run : std::max<int64_t>(inner_, 1);
  for (int64_t k = part.begin; k < part.end;) {
    const int64_t end = std::min(k / run * run + run, part.end);
    copy(from + k / run * factor_.run_stride + k % run * factor_.inner_stride,
         {part.first, part.count, k, end, part.places + (k - part.begin), part.to});
    k = end;
  }
}

// Numbers of one run, from the first one on.
void Packing::copy(const float* from, const PanelPart& part) const {
  const int64_t products = part.end - part.begin;
  if (factor_.outer_stride == 1) {
    for (int64_t k = 0; k < products; ++k) {
      copy_line(from + k * factor_.inner_stride, part.count, part.to + part.places[k]);
    }
    return;
  }
  if (factor_.inner_stride == 1) {
    return turn_lines(from, part.count, products, factor_.outer_stride, part.places, part.to);
  }
  for (int64_t i = 0; i < part.count; ++i) {
    const float* numbers = from + i * factor_.outer_stride;
    for (int64_t k = 0; k < products; ++k) {
      part.to[part.places[k] + i] = numbers[k * factor_.inner_stride];
    }
  }
}

void Packing::finish(float* numbers, int64_t count) const {
  casts_(numbers, count);
  clean(numbers, count);
}

void Packing::clean(float* numbers, int64_t count) const {
  if (flushes_) {
    change(numbers, count, [](uint32_t bits) {
      return (bits & ~kSign) < kImplicitBit ? bits & kSign : bits;
    });
  }
  if (form_ == kCleanFloats) {
    change(numbers, count, [](uint32_t bits) {
      return (bits & ~kSign) > kInfinity ? kQuietNan : bits;
    });
  }
}

// The odd number of a pair stands before the even one (place).
void Packing::pair_up(const float* numbers, int64_t pairs, float* words) const {
  for (int64_t pair = 0; pair < pairs; ++pair, words += width_) {
    const float* odd = numbers + 2 * pair * width_;
    for (int64_t i = 0; i < width_; ++i) {
      uint32_t upper, lower;
      std::memcpy(&upper, odd + i, sizeof upper);
      std::memcpy(&lower, odd + width_ + i, sizeof lower);
      const uint32_t word = (upper & 0xFFFF0000) | lower >> 16;
      std::memcpy(words + i, &word, sizeof word);
    }
  }
}

}  // namespace onnxbf

#include "block.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "float_environment.h"
#include "instruction_sets.h"

namespace onnxbf {
namespace {

constexpr int64_t kPiece = int64_t{1} << 12;  // elements of a task, about: they stay in the cache
constexpr int64_t kColumns = 256;

CastSpec cast_of(const BlockSpec& spec) {
  // Below 2, the numbers of a format with smallest exponent 0 are as far apart as integers.
  const int32_t exponent_bits = spec.exponent_bits == 0 ? 2 : spec.exponent_bits;
  return {exponent_bits, spec.mantissa_bits, spec.specials, spec.rounding, 0, 1, 32};
}

// The work on one tensor.
class Quantizer {
 public:
  Quantizer(const Kernels& kernels, const BlockSpec& spec, const RandomKey& key, const float* in,
            float* out, const AxisShape& shape)
      : kernels_(kernels.blocks), plan_(make_plan(cast_of(spec))),
        round_(kernels.round[round_kernel(cast_of(spec))]), key_(key), in_(in), out_(out),
        shape_(shape), block_(std::min<int64_t>(spec.block, shape.length)),
        blocks_((shape.length + block_ - 1) / block_) {
    if (spec.exponent_bits == 0) {
      scale_ = {0, 2 - std::ldexp(1.0f, -spec.mantissa_bits)};
      return;
    }
    std::memcpy(&scale_.max, &plan_.max, sizeof scale_.max);
    scale_.max_exponent = static_cast<int32_t>(plan_.max >> kMantissaBits) - kExponentBias;
  }

  // Blocks of an axis that is the last: they follow each other in memory.
  void rows(const Tasks& tasks) const {
    const int64_t all = shape_.outer * blocks_, together = std::max<int64_t>(1, kPiece / block_);
    tasks((all + together - 1) / together, [&](int64_t task) {
      const FloatEnvironment environment(false);
      const int64_t first = task * together, last = std::min(all, first + together);
      float back[kPiece];
      each_run(first, last, [&](int64_t block, int64_t size, int64_t count) {
        const int64_t place = begin_of(block);
        kernels_.scale_rows(scale_, in_ + place, size, count, out_ + place, back + block - first);
      });
      const int64_t begin = begin_of(first), end = begin_of(last);
      round_(plan_, key_, out_ + begin, out_ + begin, begin, end, false);
      each_run(first, last, [&](int64_t block, int64_t size, int64_t count) {
        kernels_.restore_rows(back + block - first, size, count, out_ + begin_of(block));
      });
    });
  }

  // Blocks of another axis: some columns of each at a time.
  void columns(const Tasks& tasks) const {
    const int64_t pieces = (shape_.inner + kColumns - 1) / kColumns;
    tasks(shape_.outer * blocks_ * pieces, [&](int64_t task) {
      const FloatEnvironment environment(false);
      const int64_t block = task / pieces, column = task % pieces * kColumns;
      const int64_t begin = begin_of(block) * shape_.inner + column;
      const int64_t end = begin_of(block + 1) * shape_.inner;
      const int64_t count = std::min(kColumns, shape_.inner - column);
      uint32_t magnitudes[kColumns] = {};
      float by[kColumns], back[kColumns];
      for (int64_t i = begin; i < end; i += shape_.inner) {
        kernels_.larger(in_ + i, magnitudes, count);
      }
      kernels_.factors(scale_, magnitudes, by, back, count);
      for (int64_t i = begin; i < end; i += shape_.inner) {
        kernels_.scale_each(in_ + i, by, scale_.max, out_ + i, count);
        round_(plan_, key_, out_ + i, out_ + i, i, i + count, false);
        kernels_.restore_each(back, out_ + i, count);
      }
    });
  }

 private:
  // Where a block begins, of all blocks of a tensor without columns.
  int64_t begin_of(int64_t block) const {
    return block / blocks_ * shape_.length + block % blocks_ * block_;
  }

  // Calls body(block, size, count) for runs of blocks of one size.
  template <class Body>
  void each_run(int64_t first, int64_t last, const Body& body) const {
    const int64_t shorter = shape_.length % block_;
    if (shorter == 0) {
      body(first, block_, last - first);
      return;
    }
    for (int64_t block = first, next; block < last; block = next) {
      const int64_t whole = blocks_ - 1 - block % blocks_;  // that are left of the row
      next = whole == 0 ? block + 1 : std::min(last, block + whole);
      body(block, whole == 0 ? shorter : block_, next - block);
    }
  }

  const BlockKernels& kernels_;
  Plan plan_;
  RoundFunction round_;
  const RandomKey& key_;
  const float* in_;
  float* out_;
  const AxisShape& shape_;
  int64_t block_, blocks_;  // the length of a block, and how many there are along the axis
  BlockScale scale_;
};

}  // namespace

const char* problem(const BlockSpec& spec) {
  if (spec.exponent_bits != 0 && (spec.exponent_bits < 2 || spec.exponent_bits > 5)) {
    return "exponent_bits must be 0 or 2 to 5";
  }
  if (spec.exponent_bits == 0 && spec.mantissa_bits != 6) return "integers have 6 mantissa_bits";
  if (spec.mantissa_bits < 1 || spec.mantissa_bits > 7) return "mantissa_bits must be 1 to 7";
  if (spec.rounding == kUp || spec.rounding == kDown || spec.rounding == kToOdd) {
    return "rounding must be rne, rna, rtz or sr";
  }
  if (spec.block < 1) return "block must be 1 or more";
  return problem(cast_of(spec));
}

void quantize_blocks(const Kernels& kernels, const BlockSpec& spec, const RandomKey& key,
                     const float* in, float* out, const AxisShape& shape, const Tasks& tasks) {
  if (shape.outer == 0 || shape.length == 0 || shape.inner == 0) return;
  const Quantizer quantizer(kernels, spec, key, in, out, shape);
  if (shape.inner == 1) {
    quantizer.rows(tasks);
  } else {
    quantizer.columns(tasks);
  }
}

}  // namespace onnxbf

#include "sum_lines.h"

#include <algorithm>
#include <cstring>

#include "float_environment.h"
#include "sizes.h"

namespace onnxbf {
namespace {

constexpr int64_t kColumns = 512;   // of shorter parts of lines, CPUs foresee less of what is read next
constexpr int64_t kTogether = 16;   // columns, which begin with a cache line
constexpr int64_t kTask = 1 << 15;  // terms that are worth a thread

void make_nans_plain(float* numbers, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    if (numbers[i] != numbers[i]) std::memcpy(numbers + i, &kQuietNan, sizeof kQuietNan);
  }
}

}  // namespace

bool go_along_lines(const Arithmetic& arithmetic, const Sums& sums) {
  const Factor& terms = sums.terms;
  const bool plain = arithmetic.step == kFma && is_float32(arithmetic.accumulator) &&
                     arithmetic.chunk == 0 && !arithmetic.operands && !arithmetic.result;
  const bool ieee = !arithmetic.flush && !arithmetic.denormals_in_are_zero && !arithmetic.keeps_nan;
  return plain && ieee && !terms.cast && terms.run == 0 && terms.outer_stride == 1;
}

void sum_lines(const Kernels& kernels, const Sums& sums, const ParallelFor& parallel) {
  const int64_t blocks = divide_up(sums.count, kColumns);
  const int64_t width = fill_up(divide_up(sums.count, blocks), kTogether);
  const int64_t count = static_cast<int64_t>(sums.terms.matrices.size()) * blocks;
  const int64_t terms = std::max<int64_t>(sums.inner * width, 1);
  const int64_t together = std::max<int64_t>(kTask / terms, 1);
  parallel(divide_up(count, together), [&](int64_t task) {
    const FloatEnvironment nearest(false);
    for (int64_t i = task * together; i < std::min((task + 1) * together, count); ++i) {
      const int64_t matrix = i / blocks, first = i % blocks * width;
      const int64_t columns = std::min(width, sums.count - first);
      float* out = sums.out + matrix * sums.count + first;
      std::fill_n(out, columns, 0.0f);
      kernels.sums.lines(sums.terms.matrices[static_cast<size_t>(matrix)] + first,
                         sums.terms.inner_stride, sums.inner, columns, out);
      make_nans_plain(out, columns);
    }
  });
}

}  // namespace onnxbf

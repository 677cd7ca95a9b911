#include "sum.h"

#include <algorithm>

#include "choose_kernel.h"
#include "exact.h"
#include "float_bits.h"
#include "float_environment.h"
#include "pack.h"
#include "sum_lines.h"
#include "tdpbf16ps.h"

namespace onnxbf {
namespace {

constexpr int64_t kPart = 192;        // terms of each sum that are packed at a time
constexpr int64_t kTask = 1 << 15;    // terms that are worth a thread
static_assert(kPart >= kLongestGroup, "a group is packed whole");

// What kSumWidth sums need to remember between the parts of their terms, beside what they are so far.
struct Memory {
  explicit Memory(Step step)
      : exact(step == kExact ? kSumWidth : 0),
        rows(static_cast<size_t>((step == kPairwise ? kPairwiseLevels : 1) * kSumWidth)) {}

  std::vector<ExactSum> exact;
  std::vector<float> rows;  // of kKahan, what was lost; of kPairwise, sums that wait for their like
};

class Summation {
 public:
  Summation(const Kernels& kernels, const Arithmetic& arithmetic, const Sums& sums)
      : kernels_(kernels),
        arithmetic_(arithmetic),
        sums_(sums),
        depth_(arithmetic.depth_of(sums.inner)),
        chunk_(arithmetic.chunk_of(sums.inner)),
        plan_(make_plan(arithmetic.accumulator)),
        outer_plan_(make_plan(arithmetic.outer)),
        terms_(kernels, arithmetic, sums.terms, sums.count, sums.inner, kSumWidth,
               arithmetic.keeps_nan ? Packing::kFloats : Packing::kCleanFloats) {}

  void run(const ParallelFor& parallel) const {
    const int64_t panels = static_cast<int64_t>(sums_.terms.matrices.size()) * terms_.panels();
    const int64_t terms = std::max<int64_t>(depth_ * kSumWidth, 1);
    const int64_t together = std::clamp<int64_t>(kTask / terms, 1, panels);
    parallel((panels + together - 1) / together, [&](int64_t task) {
      const int64_t last = std::min((task + 1) * together, panels);
      for (int64_t panel = task * together; panel < last; ++panel) compute(panel);
    });
  }

 private:
  struct Panel {
    int64_t matrix, index;
    uint64_t element;
  };

  void compute(int64_t number) const {
    const int64_t matrix = number / terms_.panels(), index = number % terms_.panels();
    const int64_t place = matrix * sums_.count + index * kSumWidth;
    const Panel panel{matrix, index, sums_.first + static_cast<uint64_t>(place)};
    const int64_t count = std::min(kSumWidth, sums_.count - index * kSumWidth);
    alignas(64) float total[kSumWidth] = {};
    arithmetic_.chunk == 0 ? add_terms(panel, 0, depth_, total) : add_chunks(panel, total);
    const FloatEnvironment nearest(false);
    for (int64_t i = 0; i < count; ++i) {
      if (total[i] != total[i]) total[i] = nan(panel, i);
    }
    if (arithmetic_.result) round(*arithmetic_.result, total);
    std::copy_n(total, count, sums_.out + place);
  }

  void round(const CastSpec& cast, float* numbers) const {
    quantize_dequantize(kernels_, cast, RandomKey{}, numbers, numbers, 0, kSumWidth, 0);
  }

  void pack(const Panel& panel, int64_t begin, int64_t end, float* terms) const {
    const FloatEnvironment nearest(false);
    terms_.fill(panel.matrix, panel.index, begin, end, terms);
  }

  void add_chunks(const Panel& panel, float* total) const {
    for (int64_t start = 0; start < depth_; start += chunk_) add_chunk(panel, start, total);
  }

  void add_chunk(const Panel& panel, int64_t start, float* total) const {
    alignas(64) float inner[kSumWidth] = {};
    add_terms(panel, start, std::min(start + chunk_, depth_), inner);
    const FloatEnvironment environment(arithmetic_.flush);
    add_rounded(panel, arithmetic_.outer, outer_plan_, sums_.inner + start / chunk_, 1, inner,
                total);
  }

  // Terms [begin, end), a part at a time; groups and pairs, and chunks of kEvenOdd, are not cut.
  void add_terms(const Panel& panel, int64_t begin, int64_t end, float* total) const {
    const int64_t group = arithmetic_.step == kAligned ? arithmetic_.group : 1;
    const int64_t length = kPart / group * group;
    alignas(64) float terms[kPart * kSumWidth];
    Memory memory(arithmetic_.step);
    for (int64_t start = begin; start < end; start += length) {
      const int64_t count = std::min(length, end - start);
      pack(panel, start, start + count, terms);
      const FloatEnvironment environment(arithmetic_.flush);
      add_part(panel, start, count, terms, memory, total);
    }
    if (begin == end) return;
    const SumKernels& table = kernels_.sums;
    if (arithmetic_.step == kPairwise) table.pairwise_total(end, memory.rows.data(), total);
    for (size_t i = 0; i < memory.exact.size(); ++i) total[i] = memory.exact[i].round();
  }

  void add_part(const Panel& panel, int64_t start, int64_t count, const float* terms,
                Memory& memory, float* total) const {
    const SumKernels& table = kernels_.sums;
    switch (arithmetic_.step) {
      case kExact:
        for (int64_t k = 0; k < count; ++k) {
          for (size_t i = 0; i < kSumWidth; ++i) {
            memory.exact[i].add(terms[static_cast<size_t>(k) * kSumWidth + i], 1);
          }
        }
        return;
      case kAligned:
        return aligned(count, terms, total);
      case kKahan:
        return table.kahan(count, terms, total, memory.rows.data());
      case kPairwise:
        return table.pairwise(start, count, terms, memory.rows.data());
      case kPair:
        return table.pair(plan_, false, count, terms, total);
      case kFusedPair:
        return table.fused_pair(plan_, false, count, terms, total);
      case kEvenOdd: {
        alignas(64) float odd[kSumWidth] = {};
        table.float32(plan_, arithmetic_.flush, count / 2, terms, total);
        table.float32(plan_, arithmetic_.flush, count / 2, terms + count / 2 * kSumWidth, odd);
        return table.float32(plan_, arithmetic_.flush, 1, odd, total);
      }
      default:
        add_rounded(panel, arithmetic_.accumulator, plan_, start, count, terms, total);
    }
  }

  // Adds rows of terms to an accumulator in the order in which they stand; `rounding`: the first one's number.
  void add_rounded(const Panel& panel, const CastSpec& cast, const Plan& plan, int64_t rounding,
                   int64_t count, const float* terms, float* total) const {
    const SumKernels& table = kernels_.sums;
    if (cast.rounding == kStochastic) {
      const bool wide = round_kernel(cast) == round_wide_sr;
      const SumRandom random{sums_.random, panel.element, 0, static_cast<uint64_t>(rounding)};
      (wide ? table.stochastic_wide : table.stochastic_narrow)(plan, random, count, terms, total);
      return;
    }
    rounding_function(table, cast)(plan, arithmetic_.flush, count, terms, total);
  }

  void aligned(int64_t count, const float* terms, float* total) const {
    const bool rounds = !cuts_off(arithmetic_.accumulator);
    const int32_t least_exponent = 2 - (1 << (arithmetic_.operands->exponent_bits - 1));
    const Alignment alignment{arithmetic_.bits, least_exponent, rounds};
    for (int64_t start = 0; start < count; start += arithmetic_.group) {
      const int64_t length = std::min(arithmetic_.group, count - start);
      kernels_.sums.aligned(alignment, length, terms + start * kSumWidth, total);
      if (rounds) round(arithmetic_.accumulator, total);
    }
  }

  // The NaN that sum `i` of a panel ends with: see onnxbf/dot.py.
  float nan(const Panel& panel, int64_t i) const {
    if (!arithmetic_.keeps_nan) return float_of(kQuietNan);
    if (arithmetic_.step == kEvenOdd) return first_nan(panel, i);
    alignas(64) float terms[kPart * kSumWidth];
    for (int64_t part = (depth_ - 1) / kPart; part >= 0; --part) {
      const int64_t start = part * kPart, count = std::min(kPart, depth_ - start);
      pack(panel, start, start + count, terms);
      for (int64_t k = count - 2; k >= 0; k -= 2) {
        for (int64_t of_pair : {1, 0}) {  // of a pair, the even element stands second
          const float term = terms[(k + of_pair) * kSumWidth + i];
          if (term != term) return term;
        }
      }
    }
    return float_of(kQuietNan | kSign);
  }

  // That of the chunk which made the sum one.
  float first_nan(const Panel& panel, int64_t i) const {
    alignas(64) float total[kSumWidth] = {}, terms[kPart * kSumWidth];
    int64_t start = 0;
    for (; start + chunk_ < depth_; start += chunk_) {
      add_chunk(panel, start, total);
      if (total[i] != total[i]) break;
    }
    const int64_t count = std::min(chunk_, depth_ - start);
    const float one = 1;
    pack(panel, start, start + count, terms);
    return nan_of_chunk(count, terms + i, kSumWidth, &one, 0);
  }

  const Kernels& kernels_;
  const Arithmetic& arithmetic_;
  const Sums& sums_;
  int64_t depth_;  // terms of each sum, those that fill up a pair among them
  int64_t chunk_;
  Plan plan_, outer_plan_;
  Packing terms_;
};

}  // namespace

Sums make_sums(const SumShape& shape, const float* data, float* out) {
  Sums sums{};
  sums.inner = shape.inner;
  sums.out = out;
  if (shape.after == 1) {  // all in one matrix
    sums.terms = {{data}, {}, shape.inner, 1, std::nullopt};
    sums.count = shape.outer;
    return sums;
  }
  sums.terms = {{}, {}, 1, shape.after, std::nullopt};
  sums.count = shape.after;
  for (int64_t i = 0; i < shape.outer; ++i) {
    sums.terms.matrices.push_back(data + i * shape.inner * shape.after);
  }
  return sums;
}

void sum(const Kernels& kernels, const Arithmetic& arithmetic, const Sums& sums,
         const ParallelFor& parallel) {
  if (sums.count == 0 || sums.terms.matrices.empty()) return;
  if (go_along_lines(arithmetic, sums)) return sum_lines(kernels, sums, parallel);
  Summation(kernels, arithmetic, sums).run(parallel);
}

}  // namespace onnxbf

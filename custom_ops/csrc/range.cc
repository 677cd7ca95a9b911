#include "range.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "float_environment.h"
#include "instruction_sets.h"

namespace onnxbf {
namespace {

constexpr int64_t kPiece = int64_t{1} << 14;  // elements of a task
constexpr int64_t kWords = 1024;              // random words at a time
constexpr float kWider = 1e-8f;               // what ranges are widened by

struct Span {
  float low, high;
};

float width(const Span& span) { return (span.high - span.low) + kWider; }

// Samples that a reflection mixes: one with a wide range, and others that share its bins.
struct Group {
  std::vector<int64_t> rows;
  float scale_first = 1, scale_rest = 1;
  float first = 0, rest = 0;  // of the unit vector that is reflected
  float scale(size_t i) const { return i == 0 ? scale_first : scale_rest; }
  float unit(size_t i) const { return i == 0 ? first : rest; }
};

// How many samples of ordered ranges are small: their total share of bins then exceeds one each.
int64_t count_small(const std::vector<float>& widths) {
  const auto rows = static_cast<int64_t>(widths.size());
  std::vector<double> sums(widths.size());
  double sum = 0;
  for (size_t i = 0; i < widths.size(); ++i) sums[i] = sum += widths[i];
  for (int64_t small = 1; small < rows; ++small) {
    const auto last = static_cast<size_t>(rows - small - 1);
    if (static_cast<double>(small) * widths[last] > sums[last]) return small;
  }
  return rows - 1;
}

void set_scales(Group& group, float widest, float next) {
  const auto n = static_cast<double>(group.rows.size());
  if (n < 2) return;
  const double root = std::sqrt(n);
  const double inner = n > 2 ? 1 / (n - root) : 0;  // between two of the others
  const double largest = std::max({1 / root, std::fabs(1 - 1 / (n - root)), inner});
  const double w1 = widest / root, w2 = next * largest;
  const double s1 = std::pow(w1, -1.0 / 3), s2 = std::pow(w2 / (n - 1), -1.0 / 3);
  const double both = std::sqrt(1 / (s1 * s1) + 1 / (s2 * s2));
  group.scale_first = static_cast<float>(s1 * both);
  group.scale_rest = static_cast<float>(s2 * both);
  const double length = std::sqrt(2 - 2 / root);
  group.first = static_cast<float>((1 / root - 1) / length);
  group.rest = static_cast<float>(1 / root / length);
}

std::vector<Group> make_groups(const std::vector<Span>& spans) {
  std::vector<int64_t> order(spans.size());
  std::iota(order.begin(), order.end(), 0);
  const auto width_of = [&](int64_t row) { return width(spans[static_cast<size_t>(row)]); };
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return width_of(a) > width_of(b); });
  std::vector<float> widths;
  for (int64_t row : order) widths.push_back(width_of(row));
  const int64_t small = count_small(widths);
  const size_t large = spans.size() - static_cast<size_t>(small);
  double total = 0, share = 0;
  for (size_t i = 0; i < large; ++i) total += widths[i];
  std::vector<Group> groups(large);
  int64_t dealt = 0;
  for (size_t i = 0; i < large; ++i) {
    share += static_cast<double>(small) * widths[i] / total;
    const int64_t until = i + 1 == large ? small : std::min<int64_t>(std::llrint(share), small);
    Group& group = groups[i];
    group.rows.push_back(order[i]);
    for (int64_t next = dealt; next < until; ++next) {
      group.rows.push_back(order[large + static_cast<size_t>(next)]);
    }
    if (until > dealt) set_scales(group, widths[i], widths[large + static_cast<size_t>(dealt)]);
    dealt = until;
  }
  return groups;
}

// The work on one tensor.
class Quantizer {
 public:
  Quantizer(const Kernels& kernels, const RangeSpec& spec, const RandomKey& key, int64_t columns,
            const Tasks& tasks)
      : ranges_(kernels.ranges), random_(kernels.random_words), spec_(spec), key_(key),
        columns_(columns), pieces_((columns + kPiece - 1) / kPiece), tasks_(tasks) {}

  std::vector<Span> spans(const float* x, int64_t rows) const {
    std::vector<Span> found(static_cast<size_t>(rows * pieces_));
    each_piece(rows, [&](int64_t row, int64_t piece, int64_t begin, int64_t count) {
      Span& span = found[static_cast<size_t>(row * pieces_ + piece)];
      ranges_.span(x + row * columns_ + begin, count, &span.low, &span.high);
    });
    std::vector<Span> spans;
    for (int64_t row = 0; row < rows; ++row) {
      Span span = found[static_cast<size_t>(row * pieces_)];
      for (int64_t piece = 1; piece < pieces_; ++piece) {
        const Span& other = found[static_cast<size_t>(row * pieces_ + piece)];
        const bool bad = std::isnan(span.low) || std::isnan(other.low);
        span.low = bad ? NAN : std::min(span.low, other.low);
        span.high = bad ? NAN : std::max(span.high, other.high);
      }
      spans.push_back(span);
    }
    return spans;
  }

  // `in` may be `out`.
  void affine(const std::vector<Span>& spans, const float* in, float* out) const {
    each_piece(static_cast<int64_t>(spans.size()),
               [&](int64_t row, int64_t, int64_t begin, int64_t count) {
                 const Affine affine = affine_of(spans[static_cast<size_t>(row)]);
                 const int64_t first = row * columns_ + begin;
                 round(affine, in + first, out + first, first, count);
               });
  }

  void householder(const float* in, float* out, int64_t rows) const {
    const std::vector<Span> before = spans(in, rows);
    for (const Span& span : before) {
      if (!std::isfinite(width(span))) {
        std::fill(out, out + rows * columns_, NAN);
        return;
      }
    }
    const std::vector<Group> groups = make_groups(before);
    mix(groups, in, out, [&](const Group& group, size_t i, const float* x, const float* t,
                             float* y, int64_t count) {
      ranges_.reflect(x, group.scale(i), 2 * group.unit(i), t, y, count);
    }, true);
    affine(spans(out, rows), out, out);
    mix(groups, out, out, [&](const Group& group, size_t i, const float* x, const float* t,
                              float* y, int64_t count) {
      const auto inverse = static_cast<float>(1 / static_cast<double>(group.scale(i)));
      ranges_.restore(x, inverse, 2 * group.unit(i), t, y, count);
    }, false);
  }

 private:
  // Calls body(row, piece, begin, count) for all pieces of all rows.
  template <class Body>
  void each_piece(int64_t rows, const Body& body) const {
    const int64_t together = std::max<int64_t>(1, kPiece / columns_);  // rows of a task
    tasks_((rows + together - 1) / together * pieces_, [&](int64_t task) {
      const FloatEnvironment environment(false);
      const int64_t block = task / pieces_, piece = task % pieces_, begin = piece * kPiece;
      const int64_t count = std::min(kPiece, columns_ - begin);
      for (int64_t row = block * together; row < std::min(rows, (block + 1) * together); ++row) {
        body(row, piece, begin, count);
      }
    });
  }

  Affine affine_of(Span span) const {
    const auto bins = static_cast<float>((1 << spec_.bits) - 1);
    if (spec_.exact_zero == 0) return {span.low, bins / width(span), 0, bins};
    const bool bad = std::isnan(span.low);
    const Span wider{bad ? NAN : std::min(span.low, 0.0f), bad ? NAN : std::max(span.high, 0.0f)};
    const float scale = bins / width(wider);
    return {0, scale, std::nearbyint(-wider.low * scale), bins};
  }

  void round(const Affine& affine, const float* in, float* out, int64_t first,
             int64_t count) const {
    if (spec_.stochastic == 0) {
      ranges_.affine(affine, nullptr, in, out, count);
      return;
    }
    uint32_t words[kWords];
    for (int64_t i = 0; i < count; i += kWords) {
      const int64_t some = std::min(kWords, count - i);
      random_(key_, words, first + i, first + i + some);
      std::fill(words + some, words + kWords, 0u);
      ranges_.affine(affine, words, in + i, out + i, some);
    }
  }

  // Applies the reflection of every group, some columns at a time.
  template <class Step>
  void mix(const std::vector<Group>& groups, const float* in, float* out, const Step& step,
           bool scaled) const {
    constexpr int64_t kColumns = 256;
    tasks_((columns_ + kColumns - 1) / kColumns, [&](int64_t task) {
      const FloatEnvironment environment(false);
      const int64_t begin = task * kColumns, count = std::min(kColumns, columns_ - begin);
      float sums[kColumns] = {};
      for (const Group& group : groups) {
        for (size_t i = 0; i < group.rows.size(); ++i) {
          const float scale = scaled ? group.scale(i) : 1.0f;
          ranges_.project(in + group.rows[i] * columns_ + begin, scale, group.unit(i), i == 0, sums,
                          count);
        }
        for (size_t i = 0; i < group.rows.size(); ++i) {
          const int64_t place = group.rows[i] * columns_ + begin;
          step(group, i, in + place, sums, out + place, count);
        }
      }
    });
  }

  const RangeKernels& ranges_;
  RandomFunction random_;
  const RangeSpec& spec_;
  const RandomKey& key_;
  int64_t columns_, pieces_;
  const Tasks& tasks_;
};

}  // namespace

const char* problem(const RangeSpec& spec, int64_t rows) {
  if (spec.bits < 2 || spec.bits > 8) return "bits must be from 2 to 8";
  if (spec.grouping == kHouseholder && rows < 2) return "a Householder quantizer needs 2 samples";
  return nullptr;
}

void quantize_range(const Kernels& kernels, const RangeSpec& spec, const RandomKey& key,
                    const float* in, float* out, int64_t rows, int64_t columns,
                    const Tasks& tasks) {
  if (rows == 0 || columns == 0) return;
  const FloatEnvironment environment(false);
  const bool whole = spec.grouping == kTensor;
  const Quantizer quantizer(kernels, spec, key, whole ? rows * columns : columns, tasks);
  if (spec.grouping == kHouseholder) {
    quantizer.householder(in, out, rows);
  } else {
    quantizer.affine(quantizer.spans(in, whole ? 1 : rows), in, out);
  }
}

}  // namespace onnxbf

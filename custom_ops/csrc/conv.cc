#include "conv.h"

#include <algorithm>
#include <limits>

#include "float_environment.h"
#include "turn.h"

namespace onnxbf {
namespace {

constexpr int64_t kMapsTogether = 8;  // whose biases' gradients are summed side by side
constexpr int64_t kPart = 256;        // numbers of each, rounded at a time

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Which positions of a dimension a tap takes to which sources: the j-th of `count` is `begin` + j * `step`,
// and its source `source` + j * `source_step`. All other positions meet a zero.
struct Run {
  int64_t begin, step, source, source_step, count;

  // The source of a position; -1: none.
  int64_t at(int64_t position) const {
    const int64_t distance = position - begin;
    if (distance < 0 || distance % step != 0 || distance / step >= count) return -1;
    return source + distance / step * source_step;
  }
};

// What the windows of some positions hold of an image.
struct Windows {
  Sizes positions, sources;
  std::vector<std::vector<Run>> runs;  // by dimension and tap
  int64_t position_count, source_count, taps;
};

// How many dimensions there are before the first that is more than one number.
size_t count_idle(const ConvShape& shape) {
  size_t d = 0;
  while (d + 1 < shape.dimensions() && shape.in[d] == 1 && shape.out[d] == 1 &&
         shape.kernel[d] == 1 && shape.pads[d] == 0) {
    ++d;
  }
  return d;
}

// `to_input`: positions are inputs, and sources the outputs that they reach; else the other way about.
Windows make_windows(const ConvShape& shape, bool to_input) {
  Windows made{};
  for (size_t d = count_idle(shape); d < shape.dimensions(); ++d) {
    made.positions.push_back(to_input ? shape.in[d] : shape.out[d]);
    made.sources.push_back(to_input ? shape.out[d] : shape.in[d]);
    std::vector<Run>& runs = made.runs.emplace_back();
    const int64_t stride = shape.strides[d];
    for (int64_t tap = 0; tap < shape.kernel[d]; ++tap) {
      const int64_t shift = tap * shape.dilations[d] - shape.pads[d];
      const int64_t first = shift < 0 ? divide_up(-shift, stride) : 0;  // of the outputs
      const int64_t beyond = shift < shape.in[d] ? divide_up(shape.in[d] - shift, stride) : 0;
      const int64_t count = std::max<int64_t>(std::min(beyond, shape.out[d]) - first, 0);
      const int64_t input = first * stride + shift;
      runs.push_back(to_input ? Run{input, stride, first, 1, count}
                              : Run{first, 1, input, stride, count});
    }
  }
  made.position_count = product_of(made.positions);
  made.source_count = product_of(made.sources);
  made.taps = shape.taps();
  return made;
}

// A part of a row of positions: `count` of them from `first` on, `column` positions behind the first
// segment's.
struct Segment {
  int64_t row, first, count, column;
};

// Calls body(segment) for the rows of positions that [first, first + count) touches.
template <class Body>
void for_segments(const Windows& windows, int64_t first, int64_t count, const Body& body) {
  for (int64_t done = 0; done < count;) {
    const int64_t width = windows.positions.back(), place = first + done;
    const int64_t begin = place % width, length = std::min(width - begin, count - done);
    body(Segment{place / width, begin, length, done});
    done += length;
  }
}

// What a segment meets of an image.
struct Met {
  // The numbers of a row that a tap takes to the segment: from the first of them on, and to where.
  struct Span {
    int64_t from, to, count;
  };
  std::vector<int64_t> rows;  // where they begin, for each tap of all dimensions but the last; -1: none
  std::vector<Span> spans;    // for each tap of the last one; `to`: from the segment's first position

  void find(const Windows& windows, const Segment& segment) {
    find_rows(windows, segment.row);
    spans.clear();
    for (const Run& run : windows.runs.back()) {
      const int64_t before = std::max<int64_t>(segment.first - run.begin, 0);
      const int64_t end = std::max<int64_t>(segment.first + segment.count - run.begin, 0);
      const int64_t first = divide_up(before, run.step);
      spans.push_back({run.source + first * run.source_step,
                       run.begin + first * run.step - segment.first,
                       std::min(divide_up(end, run.step), run.count) - first});
    }
  }

 private:
  // From the last of these dimensions to the first, the taps of which change slowest.
  void find_rows(const Windows& windows, int64_t row) {
    rows.assign(1, 0);
    int64_t size = windows.sources.back();
    for (size_t d = windows.runs.size() - 1; d-- > 0; row /= windows.positions[d]) {
      const int64_t position = row % windows.positions[d];
      inner_.swap(rows);
      rows.clear();
      for (const Run& run : windows.runs[d]) {
        const int64_t source = run.at(position);
        for (const int64_t begin : inner_) {
          rows.push_back(source < 0 || begin < 0 ? -1 : source * size + begin);
        }
      }
      size *= windows.sources[d];
    }
  }

  std::vector<int64_t> inner_;
};

void copy(const float* from, int64_t from_step, int64_t count, float* to, int64_t to_step) {
  if (from_step == 1 && to_step == 1) {
    for (int64_t i = 0; i < count; ++i) to[i] = from[i];
    return;
  }
  for (int64_t i = 0; i < count; ++i) to[i * to_step] = from[i * from_step];
}

// Columns are positions; sums run over planes and taps.
Gather gather_windows(Windows windows) {
  return [windows = std::move(windows)](const float* image, const PanelPart& part) {
    const Run& any = windows.runs.back().front();
    const auto across = static_cast<int64_t>(windows.runs.back().size());
    const int64_t taps = windows.taps, size = windows.source_count;
    Met met;
    for_segments(windows, part.first, part.count, [&](const Segment& segment) {
      met.find(windows, segment);
      const float* plane = image + part.begin / taps * size;
      size_t row = static_cast<size_t>(part.begin % taps / across);
      size_t span = static_cast<size_t>(part.begin % across);
      for (int64_t k = part.begin; k < part.end; ++k) {
        const Met::Span& numbers = met.spans[span];
        if (met.rows[row] >= 0) {
          copy(plane + met.rows[row] + numbers.from, any.source_step, numbers.count,
               part.to + part.places[k - part.begin] + segment.column + numbers.to, any.step);
        }
        if (++span < met.spans.size()) continue;
        span = 0;
        if (++row < met.rows.size()) continue;
        row = 0;
        plane += size;
      }
    });
  };
}

// A column of weights: where its plane begins, and its tap.
struct Column {
  int64_t plane;
  size_t row, span;
};

// Numbers [begin, end) of what a column meets, `step` apart.
void fill(const Met& met, const float* planes, const Column& column, int64_t step, int64_t begin,
          int64_t end, const int64_t* places, float* to) {
  if (met.rows[column.row] < 0) return;
  const Met::Span& span = met.spans[column.span];
  const float* from = planes + column.plane + met.rows[column.row] + span.from;
  for (int64_t j = begin; j < end; ++j) to[places[span.to + j]] = from[j * step];
}

// Four columns: where all of them meet something, they are turned together.
void fill_four(const Met& met, const float* planes, const Column* columns, const int64_t* places,
               float* to) {
  int64_t begin = 0, end = INT64_MAX;
  for (int64_t i = 0; i < 4; ++i) {
    const Met::Span& span = met.spans[columns[i].span];
    begin = std::max(begin, span.to);
    end = std::min(end, met.rows[columns[i].row] < 0 ? 0 : span.to + span.count);
  }
  end = std::max(begin, end);
  const float* rows[4];
  for (int64_t i = 0; i < 4; ++i) {
    const Met::Span& span = met.spans[columns[i].span];
    const int64_t before = std::min(begin - span.to, span.count);
    rows[i] = planes + columns[i].plane + met.rows[columns[i].row] + span.from + before;
    fill(met, planes, columns[i], 1, 0, before, places, to + i);
    fill(met, planes, columns[i], 1, std::max(end - span.to, before), span.count, places, to + i);
  }
  if (begin < end) turn_four(rows, end - begin, places + begin, to);
}

// Columns are planes and taps; sums run over images, `image_step` apart, and positions.
Gather gather_turned_windows(Windows windows, int64_t image_step) {
  return [windows = std::move(windows), image_step](const float* first_image,
                                                    const PanelPart& part) {
    const auto across = static_cast<int64_t>(windows.runs.back().size());
    const int64_t taps = windows.taps, positions = windows.position_count;
    std::vector<Column> columns;
    for (int64_t i = part.first; i < part.first + part.count; ++i) {
      columns.push_back({i / taps * windows.source_count, static_cast<size_t>(i % taps / across),
                         static_cast<size_t>(i % across)});
    }
    const int64_t step = windows.runs.back().front().source_step;  // of positions, each meets a source
    Met met;
    for (int64_t k = part.begin; k < part.end;) {
      const int64_t image = k / positions, place = k % positions;
      const int64_t length = std::min(positions - place, part.end - k);
      const float* planes = first_image + image * image_step;
      for_segments(windows, place, length, [&](const Segment& segment) {
        met.find(windows, segment);
        const int64_t* places = part.places + (k - part.begin) + segment.column;
        size_t i = 0;
        for (; i + 4 <= columns.size() && step == 1; i += 4) {
          fill_four(met, planes, &columns[i], places, part.to + i);
        }
        for (; i < columns.size(); ++i) {
          fill(met, planes, columns[i], step, 0, met.spans[columns[i].span].count, places, part.to + i);
        }
      });
      k += length;
    }
  };
}

// `count` matrices that lie one behind the other, and of which each product of the batch takes the next;
// behind the last comes the first again.
Factor make_factor(const float* first, int64_t count, int64_t step, int64_t batch, Gather gather) {
  Factor factor{};
  factor.gather = std::move(gather);
  for (int64_t i = 0; i < count; ++i) factor.matrices.push_back(first + i * step);
  for (int64_t i = 0; i < batch; ++i) factor.used.push_back(i % count);
  return factor;
}

// A number for each row of a product, those of one group after the other.
void add_bias(const float* bias, int64_t groups, int64_t batch, Product& product) {
  if (bias == nullptr) return;
  product.c = bias;
  product.c_row_stride = 1;
  for (int64_t i = 0; i < batch; ++i) product.c_first.push_back(i % groups * product.rows);
}

}  // namespace

Product conv_product(const ConvShape& shape, const float* x, const float* w, const float* bias,
                     float* y) {
  const int64_t batch = shape.images * shape.groups, inner = shape.channels * shape.taps();
  Product product{};
  product.rows = shape.maps;
  product.columns = shape.out_size();
  product.inner = inner;
  product.a = make_factor(w, shape.groups, shape.maps * inner, batch, nullptr);
  product.a.outer_stride = inner;
  product.a.inner_stride = 1;
  product.b = make_factor(x, batch, shape.channels * shape.in_size(), batch,
                          gather_windows(make_windows(shape, false)));
  product.out = y;
  add_bias(bias, shape.groups, batch, product);
  return product;
}

Product conv_input_product(const ConvShape& shape, const float* dy, const float* w,
                           const float* bias, float* dx) {
  const int64_t batch = shape.images * shape.groups, taps = shape.taps();
  Product product{};
  product.rows = shape.channels;
  product.columns = shape.in_size();
  product.inner = shape.maps * taps;
  product.a = make_factor(w, shape.groups, shape.maps * shape.channels * taps, batch,
                          nullptr);
  product.a.outer_stride = product.a.run = taps;
  product.a.inner_stride = 1;
  product.a.run_stride = shape.channels * taps;
  product.b = make_factor(dy, batch, shape.maps * shape.out_size(), batch,
                          gather_windows(make_windows(shape, true)));
  product.out = dx;
  add_bias(bias, shape.groups, batch, product);
  return product;
}

Product conv_weight_product(const ConvShape& shape, const float* dy, const float* x, float* dw) {
  const int64_t plane = shape.channels * shape.in_size(), maps = shape.maps * shape.out_size();
  Product product{};
  product.rows = shape.maps;
  product.columns = shape.channels * shape.taps();
  product.inner = shape.images * shape.out_size();
  product.a = make_factor(dy, shape.groups, maps, shape.groups, nullptr);
  product.a.outer_stride = product.a.run = shape.out_size();
  product.a.inner_stride = 1;
  product.a.run_stride = shape.groups * maps;
  product.b = make_factor(
      x, shape.groups, plane, shape.groups,
      gather_turned_windows(make_windows(shape, false), shape.groups * plane));
  product.out = dw;
  return product;
}

void conv_bias_gradient(const Kernels& kernels, const ConvShape& shape,
                        const std::vector<CastSpec>& casts, const float* dy, float* db,
                        const ParallelFor& parallel) {
  const int64_t maps = shape.groups * shape.maps, size = shape.out_size();
  parallel(divide_up(maps, kMapsTogether), [&](int64_t task) {
    const FloatEnvironment nearest(false);
    const int64_t first = task * kMapsTogether, count = std::min(kMapsTogether, maps - first);
    float sums[kMapsTogether] = {}, part[kMapsTogether][kPart] = {};
    for (int64_t image = 0; image < shape.images; ++image) {
      for (int64_t begin = 0; begin < size; begin += kPart) {
        const int64_t length = std::min(kPart, size - begin);
        for (int64_t i = 0; i < count; ++i) {
          const float* from = dy + (image * maps + first + i) * size + begin;
          std::copy_n(from, length, part[i]);
          for (const CastSpec& cast : casts) {
            quantize_dequantize(kernels, cast, RandomKey{}, part[i], part[i], 0, length, 0);
          }
        }
        for (int64_t k = 0; k < length; ++k) {
          for (int64_t i = 0; i < kMapsTogether; ++i) sums[i] += part[i][k];
        }
      }
    }
    for (int64_t i = 0; i < count; ++i) {
      db[first + i] = sums[i] == sums[i] ? sums[i] : std::numeric_limits<float>::quiet_NaN();
    }
  });
}

}  // namespace onnxbf

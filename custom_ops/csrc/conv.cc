#include "conv.h"

#include <algorithm>
#include <array>

namespace onnxbf {
namespace {

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
  std::array<int64_t, 3> positions, sources, kernel;
  std::array<std::vector<Run>, 3> runs;  // by dimension and tap

  int64_t position_count() const { return positions[0] * positions[1] * positions[2]; }
  int64_t source_count() const { return sources[0] * sources[1] * sources[2]; }
  int64_t taps() const { return kernel[0] * kernel[1] * kernel[2]; }
};

// `to_input`: positions are inputs, and sources the outputs that they reach; else the other way about.
Windows make_windows(const ConvShape& shape, bool to_input) {
  Windows made{};
  for (size_t d = 0; d < 3; ++d) {
    const int64_t stride = shape.strides[d];
    made.positions[d] = to_input ? shape.in[d] : shape.out[d];
    made.sources[d] = to_input ? shape.out[d] : shape.in[d];
    made.kernel[d] = shape.kernel[d];
    for (int64_t tap = 0; tap < shape.kernel[d]; ++tap) {
      const int64_t shift = tap * shape.dilations[d] - shape.pads[d];
      const int64_t first = shift < 0 ? divide_up(-shift, stride) : 0;  // of the outputs
      const int64_t beyond = shift < shape.in[d] ? divide_up(shape.in[d] - shift, stride) : 0;
      const int64_t count = std::max<int64_t>(std::min(beyond, shape.out[d]) - first, 0);
      const int64_t input = first * stride + shift;
      made.runs[d].push_back(to_input ? Run{input, stride, first, 1, count}
                                      : Run{first, 1, input, stride, count});
    }
  }
  return made;
}

// A part of a row of positions: `count` of them from `first` on, `column` positions behind the first
// segment's.
struct Segment {
  int64_t position[2];  // in the first two dimensions
  int64_t first, count, column;
};

// Calls body(segment) for the rows of positions that [first, first + count) touches.
template <class Body>
void for_segments(const Windows& windows, int64_t first, int64_t count, const Body& body) {
  for (int64_t done = 0; done < count;) {
    const int64_t width = windows.positions[2], place = first + done;
    const int64_t row = place / width, begin = place % width;
    const int64_t length = std::min(width - begin, count - done);
    body(Segment{{row / windows.positions[1], row % windows.positions[1]}, begin, length, done});
    done += length;
  }
}

// Where in an image the rows begin that a segment meets, for each tap of the first two dimensions;
// -1: it meets none.
void find_rows(const Windows& windows, const Segment& segment, std::vector<int64_t>& rows) {
  rows.clear();
  for (const Run& deep : windows.runs[0]) {
    const int64_t depth = deep.at(segment.position[0]);
    for (const Run& high : windows.runs[1]) {
      const int64_t height = high.at(segment.position[1]);
      const bool meets = depth >= 0 && height >= 0;
      rows.push_back(meets ? (depth * windows.sources[1] + height) * windows.sources[2] : -1);
    }
  }
}

// Those of a run that fall into a segment: the first of them, and how many.
std::array<int64_t, 2> within(const Run& run, const Segment& segment) {
  const int64_t before = std::max<int64_t>(segment.first - run.begin, 0);
  const int64_t end = std::max<int64_t>(segment.first + segment.count - run.begin, 0);
  const int64_t first = divide_up(before, run.step);
  return {first, std::min(divide_up(end, run.step), run.count) - first};
}

// Columns are positions; sums run over planes and taps.
Gather gather_windows(Windows windows) {
  return [windows = std::move(windows)](const float* image, const PanelPart& part) {
    const int64_t taps = windows.taps(), across = windows.kernel[2];
    std::vector<int64_t> rows;
    for_segments(windows, part.first, part.count, [&](const Segment& segment) {
      find_rows(windows, segment, rows);
      const float* plane = image + part.begin / taps * windows.source_count();
      int64_t tap = part.begin % taps;
      for (int64_t k = part.begin; k < part.end; ++k) {
        const int64_t row = rows[static_cast<size_t>(tap / across)];
        if (row >= 0) {
          const Run& run = windows.runs[2][static_cast<size_t>(tap % across)];
          const auto [first, count] = within(run, segment);
          const float* from = plane + row + run.source + first * run.source_step;
          float* to = part.to + part.places[k - part.begin] + segment.column + run.begin +
                      first * run.step - segment.first;
          for (int64_t i = 0; i < count; ++i) to[i * run.step] = from[i * run.source_step];
        }
        if (++tap == taps) {
          tap = 0;
          plane += windows.source_count();
        }
      }
    });
  };
}

// Columns are planes and taps; sums run over images, `image_step` apart, and positions.
Gather gather_turned_windows(Windows windows, int64_t image_step) {
  return [windows = std::move(windows), image_step](const float* first_image,
                                                    const PanelPart& part) {
    const int64_t taps = windows.taps(), across = windows.kernel[2];
    const int64_t positions = windows.position_count();
    std::vector<int64_t> rows;
    for (int64_t k = part.begin; k < part.end;) {
      const int64_t image = k / positions, place = k % positions;
      const int64_t length = std::min(positions - place, part.end - k);
      const float* planes = first_image + image * image_step;
      const int64_t* places = part.places + (k - part.begin);
      for_segments(windows, place, length, [&](const Segment& segment) {
        find_rows(windows, segment, rows);
        for (int64_t i = 0; i < part.count; ++i) {
          const int64_t plane = (part.first + i) / taps, tap = (part.first + i) % taps;
          const int64_t row = rows[static_cast<size_t>(tap / across)];
          if (row < 0) continue;
          const Run& run = windows.runs[2][static_cast<size_t>(tap % across)];
          const auto [first, count] = within(run, segment);
          const float* from = planes + plane * windows.source_count() + row + run.source +
                              first * run.source_step;
          const int64_t* own = places + segment.column + run.begin + first * run.step - segment.first;
          for (int64_t j = 0; j < count; ++j) {
            part.to[own[j * run.step] + i] = from[j * run.source_step];
          }
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
  if (bias == nullptr) return product;
  product.c = bias;
  product.c_row_stride = 1;
  for (int64_t i = 0; i < batch; ++i) product.c_first.push_back(i % shape.groups * shape.maps);
  return product;
}

Product conv_input_product(const ConvShape& shape, const float* dy, const float* w, float* dx) {
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
  return product;
}

Product conv_weight_product(const ConvShape& shape, const float* dy, const float* x, float* dw) {
  Product product = conv_bias_product(shape, dy, dw);
  const int64_t plane = shape.channels * shape.in_size();
  product.columns = shape.channels * shape.taps();
  product.b = make_factor(
      x, shape.groups, plane, shape.groups,
      gather_turned_windows(make_windows(shape, false), shape.groups * plane));
  return product;
}

Product conv_bias_product(const ConvShape& shape, const float* dy, float* db) {
  static constexpr float kOne = 1;
  const int64_t maps = shape.maps * shape.out_size();
  Product product{};
  product.rows = shape.maps;
  product.columns = 1;
  product.inner = shape.images * shape.out_size();
  product.a = make_factor(dy, shape.groups, maps, shape.groups, nullptr);
  product.a.outer_stride = product.a.run = shape.out_size();
  product.a.inner_stride = 1;
  product.a.run_stride = shape.groups * maps;
  product.b = make_factor(&kOne, 1, 0, shape.groups, nullptr);  // its strides are 0: always that one
  product.out = db;
  return product;
}

}  // namespace onnxbf

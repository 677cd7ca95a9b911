#include "conv.h"

#include <algorithm>
#include <limits>

#include "casts.h"
#include "float_environment.h"
#include "sizes.h"

namespace onnxbf {
namespace {

constexpr int64_t kMapsTogether = 8;  // whose biases' gradients are summed side by side
constexpr int64_t kPart = 256;        // numbers of each, rounded at a time

// How a dimension of an image is laid out: source j stands at first + j * step, as far as that is within
// size; all other places hold zeros.
struct Axis {
  int64_t size, first, step, sources;

  // The source at a place; -1: none.
  int64_t at(int64_t place) const {
    const int64_t distance = place - first;
    if (distance < 0 || distance % step != 0 || distance / step >= sources) return -1;
    return distance / step;
  }
};

// A plane, or all of an image whose channels lie side by side.
struct Plane {
  std::vector<Axis> axes;
  int64_t phases = 1;  // of the last axis: places that leave one remainder lie side by side
  int64_t depth = 1;   // numbers at each place

  int64_t row() const { return divide_up(axes.back().size, phases) * phases * depth; }
  int64_t rows() const {
    int64_t count = 1;
    for (size_t d = 0; d + 1 < axes.size(); ++d) count *= axes[d].size;
    return count;
  }
  int64_t floats() const { return rows() * row(); }
  // From one place to the next, in each dimension.
  Sizes steps() const {
    Sizes made(axes.size(), depth);
    int64_t step = row();
    for (size_t d = axes.size() - 1; d-- > 0; step *= axes[d].size) made[d] = step;
    return made;
  }
  // Which row of sources stands in a row; -1: none.
  int64_t source_row(int64_t row) const {
    int64_t found = 0, step = 1;
    for (size_t d = axes.size() - 1; d-- > 0; row /= axes[d].size, step *= axes[d].sources) {
      const int64_t source = axes[d].at(row % axes[d].size);
      if (source < 0) return -1;
      found += source * step;
    }
    return found;
  }
  // The sources of the last axis that have a place.
  std::pair<int64_t, int64_t> span() const {
    const Axis& last = axes.back();
    const int64_t begin = last.first < 0 ? divide_up(-last.first, last.step) : 0;
    const int64_t end = divide_up(std::max<int64_t>(last.size - last.first, 0), last.step);
    return {begin, std::max(std::min(end, last.sources), begin)};
  }
};

// What outputs meet of an input that is padded: position p and tap t the place p * stride + t * dilation.
Plane padded_plane(const ConvShape& shape) {
  Plane made;
  for (size_t d = 0; d < shape.dimensions(); ++d) {
    const int64_t reach = (shape.kernel[d] - 1) * shape.dilations[d] + 1;
    const int64_t size = std::max<int64_t>((shape.out[d] - 1) * shape.strides[d] + reach, 0);
    made.axes.push_back({size, shape.pads[d], 1, shape.in[d]});
  }
  return made;
}

// What inputs meet of the outputs, with zeros between them: position p and tap t the place
// p + (last tap - t) * dilation.
Plane spread_plane(const ConvShape& shape) {
  Plane made;
  for (size_t d = 0; d < shape.dimensions(); ++d) {
    const int64_t before = (shape.kernel[d] - 1) * shape.dilations[d];
    made.axes.push_back(
        {shape.in[d] + before, before - shape.pads[d], shape.strides[d], shape.out[d]});
  }
  return made;
}

// A plane of sources whose rows have their places.
class PlaneRows {
 public:
  explicit PlaneRows(Plane plane) : plane_(std::move(plane)) {
    const int64_t rows = plane_.rows();
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t source = plane_.source_row(i);
      if (source >= 0) rows_.push_back({source * plane_.axes.back().sources, i * plane_.row()});
    }
  }

  void lay(const float* sources, float* to) const {
    const auto [begin, end] = plane_.span();
    const Axis& last = plane_.axes.back();
    std::fill_n(to, plane_.floats(), 0.0f);
    for (const Row& row : rows_) {
      if (last.step != 1 || plane_.phases != 1) {
        spread(sources + row.source, begin, end, to + row.place);
        continue;
      }
      const float* from = sources + row.source;
      float* first = to + row.place + last.first;
      for (int64_t j = begin; j < end; ++j) first[j] = from[j];
    }
  }

 private:
  struct Row {
    int64_t source, place;  // where it begins
  };

  void spread(const float* sources, int64_t begin, int64_t end, float* row) const {
    const Axis& last = plane_.axes.back();
    const int64_t of_phase = divide_up(last.size, plane_.phases);
    for (int64_t j = begin; j < end; ++j) {
      const int64_t place = last.first + j * last.step;
      row[place % plane_.phases * of_phase + place / plane_.phases] = sources[j];
    }
  }

  Plane plane_;
  std::vector<Row> rows_;
};

// Row `index` of an image with its channels, `size` numbers each, side by side.
void lay_channels(const Kernels& kernels, const Plane& plane, int64_t size, const float* sources,
                  int64_t index, float* to) {
  const int64_t source = plane.source_row(index), depth = plane.depth;
  const Axis& last = plane.axes.back();
  const auto [begin, end] = source < 0 ? std::pair<int64_t, int64_t>{0, 0} : plane.span();
  const int64_t first = source < 0 ? 0 : last.first + begin, places = end - begin;
  std::fill_n(to, first * depth, 0.0f);
  if (places > 0) {
    kernels.gradients.transpose(sources + source * last.sources + begin, size, depth, places,
                                to + first * depth, depth, depth);
  }
  std::fill(to + (first + places) * depth, to + plane.row(), 0.0f);
}

// All sums of an offset of each list; those of the last list change fastest.
Sizes sums_of(const std::vector<Sizes>& lists) {
  Sizes sums{0};
  for (const Sizes& list : lists) {
    Sizes longer;
    longer.reserve(sums.size() * list.size());
    for (const int64_t sum : sums) {
      for (const int64_t offset : list) longer.push_back(sum + offset);
    }
    sums.swap(longer);
  }
  return sums;
}

Sizes steps_of(int64_t count, int64_t step) {
  Sizes made;
  for (int64_t i = 0; i < count; ++i) made.push_back(i * step);
  return made;
}

std::vector<Sizes> steps_of(const Sizes& counts, const Sizes& steps) {
  std::vector<Sizes> made;
  for (size_t d = 0; d < counts.size(); ++d) made.push_back(steps_of(counts[d], steps[d]));
  return made;
}

std::vector<Sizes> joined(Sizes first, std::vector<Sizes> rest) {
  rest.insert(rest.begin(), std::move(first));
  return rest;
}

Sizes times(Sizes sizes, const Sizes& factors) {
  for (size_t d = 0; d < sizes.size(); ++d) sizes[d] *= factors[d];
  return sizes;
}

// `count` of them, one behind the other in memory.
std::vector<const float*> behind(const float* first, int64_t count, int64_t step) {
  std::vector<const float*> made;
  for (int64_t i = 0; i < count; ++i) made.push_back(first + i * step);
  return made;
}

// Images of `planes` planes, `size` numbers each.
Images make_images(Plane plane, int64_t planes, int64_t size) {
  Images images{};
  images.parts = planes;
  images.part_floats = plane.floats();
  images.lay_out = [rows = PlaneRows(std::move(plane)), size](const float* from, int64_t part,
                                                              float* to) {
    rows.lay(from + part * size, to);
  };
  return images;
}

// Columns are outputs; sums run over channels and taps.
Images window_images(const ConvShape& shape) {
  Plane plane = padded_plane(shape);
  const int64_t stride = plane.phases = shape.strides.back();
  const Sizes steps = plane.steps();
  Sizes strides = times(steps, shape.strides);
  strides.back() = 1;
  std::vector<Sizes> taps = steps_of(shape.kernel, times(steps, shape.dilations));
  for (int64_t& place : taps.back()) {
    place = place % stride * (plane.row() / stride) + place / stride;
  }
  Images images = make_images(plane, shape.channels, shape.in_size());
  images.outer = sums_of(steps_of(shape.out, strides));
  images.inner = sums_of(joined(steps_of(shape.channels, plane.floats()), std::move(taps)));
  return images;
}

// Columns are inputs; sums run over maps and taps.
Images reached_images(const ConvShape& shape) {
  const Plane plane = spread_plane(shape);
  std::vector<Sizes> taps = steps_of(shape.kernel, times(plane.steps(), shape.dilations));
  for (Sizes& offsets : taps) std::reverse(offsets.begin(), offsets.end());
  Images images = make_images(plane, shape.maps, shape.out_size());
  images.outer = sums_of(steps_of(shape.in, plane.steps()));
  images.inner = sums_of(joined(steps_of(shape.maps, plane.floats()), std::move(taps)));
  return images;
}

// Columns are channels and taps, or taps and channels, which lie side by side; sums run over outputs.
Images turned_images(const ConvShape& shape, const Kernels& kernels, bool in_order) {
  Plane plane = padded_plane(shape);
  plane.depth = shape.channels;
  const Sizes steps = plane.steps();
  const Sizes channels = steps_of(shape.channels, 1);
  std::vector<Sizes> columns = steps_of(shape.kernel, times(steps, shape.dilations));
  columns.insert(in_order ? columns.begin() : columns.end(), channels);
  Images images{};
  images.parts = plane.rows();
  images.part_floats = plane.row();
  images.outer = sums_of(columns);
  images.inner = sums_of(steps_of(shape.out, times(steps, shape.strides)));
  const int64_t size = shape.in_size();
  images.lay_out = [plane = std::move(plane), size, &kernels](const float* from, int64_t part,
                                                              float* to) {
    lay_channels(kernels, plane, size, from, part, to);
  };
  return images;
}

// `count` matrices that lie one behind the other, and of which each product of the batch takes the next;
// behind the last comes the first again.
Factor make_factor(const float* first, int64_t count, int64_t step, int64_t batch) {
  Factor factor{};
  factor.matrices = behind(first, count, step);
  for (int64_t i = 0; i < batch; ++i) factor.used.push_back(i % count);
  return factor;
}

Factor make_factor(Images images, std::vector<const float*> from, int64_t batch) {
  Factor factor{};
  images.from = std::move(from);
  factor.images = std::make_shared<const Images>(std::move(images));
  factor.used = steps_of(batch, 1);
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
  product.a = make_factor(w, shape.groups, shape.maps * inner, batch);
  product.a.outer_stride = inner;
  product.a.inner_stride = 1;
  product.b = make_factor(window_images(shape),
                          behind(x, batch, shape.channels * shape.in_size()), batch);
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
  product.a = make_factor(w, shape.groups, shape.maps * shape.channels * taps, batch);
  product.a.outer_stride = product.a.run = taps;
  product.a.inner_stride = 1;
  product.a.run_stride = shape.channels * taps;
  product.b = make_factor(reached_images(shape),
                          behind(dy, batch, shape.maps * shape.out_size()), batch);
  product.out = dx;
  add_bias(bias, shape.groups, batch, product);
  return product;
}

Product conv_weight_product(const ConvShape& shape, const Kernels& kernels, bool in_order,
                            const float* dy, const float* x, float* dw) {
  const int64_t plane = shape.channels * shape.in_size(), maps = shape.maps * shape.out_size();
  const int64_t taps = shape.taps();
  Product product{};
  product.rows = shape.maps;
  product.columns = shape.channels * taps;
  product.inner = shape.images * shape.out_size();
  product.a = make_factor(dy, shape.groups, maps, shape.groups);
  product.a.outer_stride = product.a.run = shape.out_size();
  product.a.inner_stride = 1;
  product.a.run_stride = shape.groups * maps;
  product.b = make_factor(turned_images(shape, kernels, in_order),
                          behind(x, shape.images * shape.groups, plane), shape.groups);
  product.out = dw;
  if (!in_order) product.places = sums_of({steps_of(taps, 1), steps_of(shape.channels, taps)});
  return product;
}

void conv_bias_gradient(const Kernels& kernels, const ConvShape& shape,
                        const std::vector<CastSpec>& casts, const float* dy, float* db,
                        const ParallelFor& parallel) {
  const int64_t maps = shape.groups * shape.maps, size = shape.out_size();
  Casts cast(kernels);
  for (const CastSpec& each : casts) cast.add(each);
  parallel(divide_up(maps, kMapsTogether), [&](int64_t task) {
    const FloatEnvironment nearest(false);
    const int64_t first = task * kMapsTogether, count = std::min(kMapsTogether, maps - first);
    float sums[kMapsTogether] = {}, part[kMapsTogether][kPart] = {}, turned[kPart][kMapsTogether];
    for (int64_t image = 0; image < shape.images; ++image) {
      for (int64_t begin = 0; begin < size; begin += kPart) {
        const int64_t length = std::min(kPart, size - begin);
        for (int64_t i = 0; i < count; ++i) {
          const float* from = dy + (image * maps + first + i) * size + begin;
          std::copy_n(from, length, part[i]);
          cast(part[i], length);
        }
        kernels.gradients.transpose(part[0], kPart, kMapsTogether, length, turned[0], kMapsTogether,
                                    kMapsTogether);
        for (int64_t k = 0; k < length; ++k) {
          for (int64_t i = 0; i < kMapsTogether; ++i) sums[i] += turned[k][i];
        }
      }
    }
    for (int64_t i = 0; i < count; ++i) {
      db[first + i] = sums[i] == sums[i] ? sums[i] : std::numeric_limits<float>::quiet_NaN();
    }
  });
}

}  // namespace onnxbf

#include "conv_gradient.h"

#include <algorithm>
#include <cstring>

#include "sizes.h"

namespace onnxbf {
namespace {

constexpr int64_t kTasks = 16;            // wanted at least, where the shape has as many
constexpr int64_t kBandFloats = 1 << 17;  // of padded gradient in a task: they stay in the cache
constexpr int64_t kBandOutputs = 512;     // in a unit of the weight gradient
constexpr int64_t kFewestMaps = 64, kMostMaps = 256;  // in a block
constexpr int64_t kProducts = 576;  // of an input, wanted in a block: it pays to turn it then
constexpr int64_t kSliceRows = 64;

}  // namespace

ConvInputGradient::ConvInputGradient(const ConvShape& shape, const Kernels& kernels)
    : shape_(shape),
      kernels_(kernels),
      tiles_(divide_up(shape.channels, kernels.tiles.rows)) {
  int64_t remainders[3];
  for (int d = 0; d < 3; ++d) {
    const int64_t stride = shape.strides[d];
    remainders[d] = std::min(stride, shape.in[d]);
    grid_[d] = divide_up(shape.in[d], stride);
    int64_t low = 0, high = 0;
    bool found = false;
    for (int64_t tap = 0; tap < shape.kernel[d]; ++tap) {
      for (int64_t first = 0; first < remainders[d]; ++first) {
        const int64_t distance = first + shape.pads[d] - tap * shape.dilations[d];
        if (distance % stride != 0) continue;
        low = found ? std::min(low, distance / stride) : distance / stride;
        high = found ? std::max(high, distance / stride) : distance / stride;
        found = true;
      }
    }
    low_[d] = low;
    reach_[d] = high - low + 1;
  }
  row_ = grid_[2] + reach_[2] - 1;
  const int64_t fitting = kBandFloats / std::max<int64_t>(shape.maps * reach_[0] * row_, 1);
  const int64_t least = std::min(grid_[1], divide_up(2 * kLongestVector, row_));
  const int64_t others = std::max<int64_t>(shape.images * shape.groups * grid_[0], 1);
  const int64_t wanted = std::min(divide_up(grid_[1], divide_up(kTasks, others)), grid_[1]);
  band_ = std::max({std::min(fitting - reach_[1] + 1, wanted), least, int64_t{1}});
  bands_ = divide_up(grid_[1], band_);
  for (int64_t d = 0; d < remainders[0]; ++d) {
    for (int64_t h = 0; h < remainders[1]; ++h) {
      for (int64_t w = 0; w < remainders[2]; ++w) add_class({d, h, w});
    }
  }
}

void ConvInputGradient::add_class(const int64_t (&first)[3]) {
  Class made{};
  for (int d = 0; d < 3; ++d) {
    made.first[d] = first[d];
    made.count[d] = divide_up(shape_.in[d] - first[d], shape_.strides[d]);
  }
  for (int64_t tap = 0; tap < shape_.taps(); ++tap) {
    const int64_t index[] = {tap / (shape_.kernel[1] * shape_.kernel[2]),
                             tap / shape_.kernel[2] % shape_.kernel[1], tap % shape_.kernel[2]};
    int64_t shifts[3];
    bool meets = true;
    for (int d = 0; d < 3; ++d) {
      const int64_t distance = first[d] + shape_.pads[d] - index[d] * shape_.dilations[d];
      meets = meets && distance % shape_.strides[d] == 0;
      shifts[d] = distance / shape_.strides[d] - low_[d];
    }
    if (!meets) continue;
    made.taps.push_back(tap);
    made.offsets.push_back((shifts[0] * (band_ + reach_[1] - 1) + shifts[1]) * row_ + shifts[2]);
  }
  if (!classes_.empty()) {
    const Class& last = classes_.back();
    made.packed = last.packed + static_cast<int64_t>(last.taps.size()) * shape_.channels * shape_.maps;
  }
  classes_.push_back(std::move(made));
}

int64_t ConvInputGradient::packed_size() const {
  return shape_.groups * shape_.taps() * shape_.channels * shape_.maps;
}

void ConvInputGradient::pack(int64_t index, const float* weights, float* packed) const {
  const int64_t channels = shape_.channels, taps = shape_.taps();
  const int64_t group = index / tiles_ * taps * channels * shape_.maps;
  const int64_t begin = tile_begin(index % tiles_, tiles_, channels);
  const int64_t end = tile_begin(index % tiles_ + 1, tiles_, channels);
  for (const Class& inputs : classes_) {
    const auto reaching = static_cast<int64_t>(inputs.taps.size());
    float* to = packed + group + inputs.packed + begin * shape_.maps * reaching;
    for (int64_t map = 0; map < shape_.maps; ++map) {
      const float* from = weights + group + map * channels * taps;
      for (const int64_t tap : inputs.taps) {
        for (int64_t c = begin; c < end; ++c) *to++ = from[c * taps + tap];
      }
    }
  }
}

int64_t ConvInputGradient::task_count() const {
  return shape_.images * shape_.groups * grid_[0] * bands_;
}

int64_t ConvInputGradient::scratch_size() const {
  const int64_t plane = reach_[0] * (band_ + reach_[1] - 1) * row_;
  return shape_.maps * plane + kernels_.tiles.columns;  // the last tile reads beyond the last plane
}

void ConvInputGradient::run(int64_t task, const float* dy, const float* packed, float* scratch,
                            float* dx) const {
  const int64_t top = task % bands_ * band_;
  const int64_t depth = task / bands_ % grid_[0];
  const int64_t image = task / bands_ / grid_[0];  // and group
  dy += image * shape_.maps * shape_.out_size();
  dx += image * shape_.channels * shape_.in_size();
  packed += image % shape_.groups * shape_.taps() * shape_.channels * shape_.maps;
  pad(dy, depth, top, band_ + reach_[1] - 1, scratch);
  for (const Class& inputs : classes_) {
    const int64_t height = std::min(band_, inputs.count[1] - top);
    if (depth >= inputs.count[0] || height <= 0) continue;
    InputUnit unit;
    unit.dy = scratch;
    unit.plane = reach_[0] * (band_ + reach_[1] - 1) * row_;
    unit.row = row_;
    unit.weights = packed + inputs.packed;
    unit.taps = inputs.offsets.data();
    unit.tap_count = static_cast<int64_t>(inputs.taps.size());
    unit.maps = shape_.maps;
    unit.channels = shape_.channels;
    unit.height = height;
    unit.width = inputs.count[2];
    unit.channel_step = shape_.in_size();
    unit.row_step = shape_.strides[1] * shape_.in[2];
    unit.column_step = shape_.strides[2];
    unit.dx = dx + (inputs.first[0] + depth * shape_.strides[0]) * shape_.in[1] * shape_.in[2] +
              (inputs.first[1] + top * shape_.strides[1]) * shape_.in[2] + inputs.first[2];
    kernels_.gradients.input_unit(unit);
  }
}

// The rows of the gradient that the inputs of a band meet, with zeros where there is none.
void ConvInputGradient::pad(const float* dy, int64_t depth, int64_t top, int64_t rows,
                            float* padded) const {
  const int64_t begin = std::clamp<int64_t>(-low_[2], 0, row_);
  const int64_t end = std::clamp<int64_t>(shape_.out[2] - low_[2], begin, row_);
  for (int64_t map = 0; map < shape_.maps; ++map) {
    for (int64_t d = depth + low_[0]; d < depth + low_[0] + reach_[0]; ++d) {
      for (int64_t h = top + low_[1]; h < top + low_[1] + rows; ++h, padded += row_) {
        if (d < 0 || d >= shape_.out[0] || h < 0 || h >= shape_.out[1]) {
          std::fill_n(padded, row_, 0.0f);
          continue;
        }
        const float* from = dy + ((map * shape_.out[0] + d) * shape_.out[1] + h) * shape_.out[2];
        std::fill_n(padded, begin, 0.0f);
        std::copy_n(from + (begin + low_[2]), end - begin, padded + begin);
        std::fill_n(padded + end, row_ - end, 0.0f);
      }
    }
  }
  std::fill_n(padded, kernels_.tiles.columns, 0.0f);
}

ConvWeightGradient::ConvWeightGradient(const ConvShape& shape, const Kernels& kernels)
    : shape_(shape), kernels_(kernels), rows_(shape.taps() * shape.channels) {
  const int64_t strides = shape.strides[0] * shape.strides[1] * shape.strides[2];
  const int64_t wanted = std::clamp(kProducts * strides / shape.taps(), kFewestMaps, kMostMaps);
  blocks_ = std::max<int64_t>(divide_up(shape.maps, wanted), 1);
  columns_ = divide_up(divide_up(shape.maps, blocks_), kLongestVector) * kLongestVector;
  panel_ = std::min(columns_, kernels.tiles.columns);
  panels_ = divide_up(columns_, panel_);
  slices_ = divide_up(shape.channels, std::max<int64_t>(kSliceRows / shape.taps(), 1));
  bands_ = divide_up(shape.out[1], divide_up(kBandOutputs, std::max<int64_t>(shape.out[2], 1)));
  band_ = divide_up(shape.out[1], std::max<int64_t>(bands_, 1));
  bands_ = divide_up(shape.out[1], std::max<int64_t>(band_, 1));
  const int64_t outputs = band_ * std::max<int64_t>(shape.out[2], 1);
  together_ = std::max<int64_t>(bands_ * shape.out[0] == 1 ? kBandOutputs / 2 / outputs : 1, 1);
  units_ = divide_up(shape.images, together_) * shape.out[0] * bands_;
  chunks_ = std::clamp<int64_t>(kTasks / (shape.groups * blocks_), 1, std::max<int64_t>(units_, 1));
  turned_rows_ = (band_ - 1) * shape.strides[1] + (shape.kernel[1] - 1) * shape.dilations[1] + 1;
  turned_width_ =
      (shape.out[2] - 1) * shape.strides[2] + (shape.kernel[2] - 1) * shape.dilations[2] + 1;
  turned_size_ = shape.kernel[0] * turned_rows_ * turned_width_ * shape.channels;
  sums_size_ = (rows_ + 1) * columns_;
  const bool joined = shape.dilations[2] == 1;  // channels of taps side by side lie side by side
  run_length_ = joined ? shape.kernel[2] * shape.channels : shape.channels;
  for (int64_t tap = 0; tap < shape.taps(); tap += joined ? shape.kernel[2] : 1) {
    const int64_t d = tap / (shape.kernel[1] * shape.kernel[2]);
    const int64_t h = tap / shape.kernel[2] % shape.kernel[1], w = tap % shape.kernel[2];
    const int64_t row = d * turned_rows_ + h * shape.dilations[1];
    runs_.push_back((row * turned_width_ + w * shape.dilations[2]) * shape.channels);
  }
}

int64_t ConvWeightGradient::scratch_size() const {
  return together_ * (band_ * shape_.out[2] * panels_ * panel_ + turned_size_);
}

void ConvWeightGradient::run(int64_t task, const float* x, const float* dy, float* scratch,
                             float* sums) const {
  const int64_t block = task % blocks_;
  const int64_t group = task / blocks_ % shape_.groups;
  const int64_t chunk = task / blocks_ / shape_.groups;
  const int64_t maps = first_map(block + 1) - first_map(block);
  const int64_t out_row = shape_.out[2], out_plane = shape_.out[1] * out_row;
  float* const turned_dy = scratch;
  float* const turned_x = scratch + together_ * band_ * out_row * panels_ * panel_;
  WeightUnit unit;
  unit.x = turned_x;
  unit.dy = turned_dy;
  unit.sums = sums;
  unit.columns = columns_;
  unit.panel = panel_;
  unit.image_step = turned_size_;
  unit.width = out_row;
  unit.row_step = shape_.strides[1] * turned_width_ * shape_.channels;
  unit.column_step = shape_.strides[2] * shape_.channels;
  unit.runs = runs_.data();
  unit.run_count = static_cast<int64_t>(runs_.size());
  unit.run_length = run_length_;
  std::fill_n(sums, sums_size_, 0.0f);
  for (int64_t i = tile_begin(chunk, chunks_, units_); i < tile_begin(chunk + 1, chunks_, units_);
       ++i) {
    const int64_t top = i % bands_ * band_, depth = i / bands_ % shape_.out[0];
    const int64_t first = i / bands_ / shape_.out[0] * together_;
    unit.images = std::min(together_, shape_.images - first);
    unit.height = std::min(band_, shape_.out[1] - top);
    const int64_t outputs = unit.height * out_row;
    for (int64_t k = 0; k < unit.images; ++k) {
      const int64_t image = (first + k) * shape_.groups + group;
      const float* from = dy + (image * shape_.maps + first_map(block)) * shape_.out_size() +
                          depth * out_plane + top * out_row;
      turn_gradient(from, maps, outputs, unit.images * outputs * panel_,
                    turned_dy + k * outputs * panel_);
      turn_input(x + image * shape_.channels * shape_.in_size(), depth, top,
                 turned_rows_ - (band_ - unit.height) * shape_.strides[1],
                 turned_x + k * turned_size_);
    }
    kernels_.gradients.weight_unit(unit);
    add_bias(turned_dy, unit.images * outputs, sums + rows_ * columns_);
  }
}

void ConvWeightGradient::turn_gradient(const float* dy, int64_t maps, int64_t outputs,
                                       int64_t panel_size, float* turned) const {
  for (int64_t panel = 0; panel < panels_; ++panel, turned += panel_size) {
    const int64_t rows = std::clamp<int64_t>(maps - panel * panel_, 0, panel_);
    kernels_.gradients.transpose(dy + panel * panel_ * shape_.out_size(), shape_.out_size(), rows,
                                 outputs, turned, panel_, panel_);
  }
}

void ConvWeightGradient::add_bias(const float* turned_dy, int64_t outputs, float* sums) const {
  float bias[kMostMaps + kLongestVector * 4];
  for (int64_t begin = 0; begin < columns_; begin += panel_) {
    std::fill_n(bias, panel_, 0.0f);
    for (int64_t output = 0; output < outputs; ++output, turned_dy += panel_) {
      for (int64_t m = 0; m < panel_; ++m) bias[m] += turned_dy[m];
    }
    for (int64_t m = begin; m < std::min(begin + panel_, columns_); ++m) sums[m] += bias[m - begin];
  }
}

// The inputs of a band of outputs, channels innermost, with zeros where there are none.
void ConvWeightGradient::turn_input(const float* x, int64_t depth, int64_t top, int64_t rows,
                                    float* turned) const {
  const int64_t channels = shape_.channels, pad = shape_.pads[2];
  const int64_t begin = std::clamp<int64_t>(pad, 0, turned_width_);
  const int64_t end = std::clamp<int64_t>(shape_.in[2] + pad, begin, turned_width_);
  for (int64_t tap = 0; tap < shape_.kernel[0]; ++tap) {
    const int64_t d = depth * shape_.strides[0] + tap * shape_.dilations[0] - shape_.pads[0];
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t h = top * shape_.strides[1] + row - shape_.pads[1];
      float* to = turned + (tap * turned_rows_ + row) * turned_width_ * channels;
      if (d < 0 || d >= shape_.in[0] || h < 0 || h >= shape_.in[1]) {
        std::fill_n(to, turned_width_ * channels, 0.0f);
        continue;
      }
      const float* from = x + (d * shape_.in[1] + h) * shape_.in[2] + (begin - pad);
      std::fill_n(to, begin * channels, 0.0f);
      kernels_.gradients.transpose(from, shape_.in_size(), channels, end - begin,
                                   to + begin * channels, channels, channels);
      std::fill_n(to + end * channels, (turned_width_ - end) * channels, 0.0f);
    }
  }
}

// The sums of all chunks of some rows, which take the place of the first chunk's.
float* ConvWeightGradient::total(int64_t index, int64_t row, int64_t rows, float* sums) const {
  float* first = sums + index * sums_size_ + row * columns_;
  for (int64_t chunk = 1; chunk < chunks_; ++chunk) {
    const float* part = first + chunk * shape_.groups * blocks_ * sums_size_;
    for (int64_t i = 0; i < rows * columns_; ++i) first[i] += part[i];
  }
  return first;
}

void ConvWeightGradient::add(int64_t index, float* sums, float* dw, float* db) const {
  const int64_t slice = index % slices_, block = index / slices_ % blocks_;
  const int64_t group = index / slices_ / blocks_, channels = shape_.channels, taps = shape_.taps();
  const int64_t begin = tile_begin(slice, slices_, channels);
  const int64_t end = tile_begin(slice + 1, slices_, channels);
  const int64_t maps = first_map(block + 1) - first_map(block);
  const int64_t first = group * shape_.maps + first_map(block);
  for (int64_t tap = 0; dw != nullptr && tap < taps; ++tap) {
    total(index / slices_, tap * channels + begin, end - begin, sums);
  }
  const float* of_slice = sums + index / slices_ * sums_size_ + begin * columns_;
  for (int64_t m = 0; dw != nullptr && m < maps; ++m) {
    float* to = dw + ((first + m) * channels + begin) * taps;
    for (int64_t c = 0; c < end - begin; ++c) {
      const float* from = of_slice + c * columns_ + m;
      for (int64_t tap = 0; tap < taps; ++tap) *to++ = from[tap * channels * columns_];
    }
  }
  if (db == nullptr || slice != 0) return;
  std::copy_n(total(index / slices_, rows_, 1, sums), maps, db + first);
}

}  // namespace onnxbf

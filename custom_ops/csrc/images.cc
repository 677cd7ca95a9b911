#include "images.h"

#include <algorithm>

#include "gemm.h"

namespace onnxbf {
namespace {

constexpr int64_t kTaskFloats = 1 << 13;
PanelRuns find_runs(const int64_t* outer, int64_t columns) {
  PanelRuns found;
  found.columns = columns;
  found.count = 0;
  for (int64_t i = 0; i < columns; ++i) {
    if (i == 0 || outer[i] != outer[i - 1] + 1) found.runs[found.count++] = {i, outer[i], 0};
    ++found.runs[found.count - 1].length;
  }
  return found;
}

}  // namespace

Canvases::Canvases(const Images& images, int64_t batch, int64_t products, int64_t of_each)
    : images_(images),
      batch_(batch),
      together_(std::max<int64_t>(kTaskFloats / std::max<int64_t>(images.part_floats, 1), 1)),
      memory_(static_cast<size_t>(products * of_each * images.floats() + kLongestVector)) {}

void Canvases::choose(int64_t first_product, int64_t products, int64_t first_image,
                      int64_t of_each) {
  first_product_ = first_product;
  products_ = products;
  first_image_ = first_image;
  of_each_ = of_each;
}

int64_t Canvases::tasks() const {
  return (products_ * of_each_ * images_.parts + together_ - 1) / together_;
}

float* Canvases::lay_out(int64_t index) const {
  const int64_t part = index % images_.parts, image = index / images_.parts;
  const int64_t product = first_product_ + image % products_;
  const int64_t number = first_image_ + image / products_;
  float* to = memory_.data() + index * images_.part_floats;
  images_.lay_out(images_.from[static_cast<size_t>(product + number * batch_)], part, to);
  return to;
}

void Canvases::gather(GatherFunction function, int64_t product, const PanelPart& part) const {
  const PanelRuns runs = find_runs(images_.outer.data() + part.first, part.count);
  const int64_t period = images_.period();
  for (int64_t k = part.begin; k < part.end;) {
    const int64_t place = k % period, rows = std::min(period - place, part.end - k);
    function(runs, image(product, k / period), images_.inner.data() + place, rows,
             part.places + (k - part.begin), part.to);
    k += rows;
  }
}

}  // namespace onnxbf

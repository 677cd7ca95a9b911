// Images from which a matrix product takes one of its factors without unfolding it in memory.
//
// Each is laid out once, rounded, with the zeros around it and between its numbers, such that number k of
// column i stands at the sum of an offset of k and one of i.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "kept_memory.h"
#include "panels.h"

namespace onnxbf {

struct PanelPart;

struct Images {
  std::vector<const float*> from;  // the n-th image of product p of a batch of b: number p + n * b
  int64_t parts, part_floats;      // of an image that is laid out; parts may be laid out at the same time
  std::function<void(const float* from, int64_t part, float* to)> lay_out;
  std::vector<int64_t> outer;      // for each column
  std::vector<int64_t> inner;      // for each product that is summed, within an image

  int64_t floats() const { return parts * part_floats; }
  int64_t period() const { return static_cast<int64_t>(inner.size()); }
};

// Some images of some products, laid out.
class Canvases {
 public:
  // `batch`: products. Makes room for at most so many images of so many products.
  Canvases(const Images& images, int64_t batch, int64_t products, int64_t of_each);

  // Which ones are there from now on: images [first_image, + of_each) of products [first_product, ...).
  void choose(int64_t first_product, int64_t products, int64_t first_image, int64_t of_each);
  // The work, in parts that may be done at the same time.
  int64_t tasks() const;
  // Calls round(numbers, count) on what it has laid out.
  template <class Round>
  void run(int64_t task, const Round& round) const {
    const int64_t all = products_ * of_each_ * images_.parts;
    const int64_t end = (task + 1) * together_ < all ? (task + 1) * together_ : all;
    for (int64_t i = task * together_; i < end; ++i) round(lay_out(i), images_.part_floats);
  }

  // Image `number` of a product.
  const float* image(int64_t product, int64_t number) const {
    const int64_t index = (number - first_image_) * products_ + product - first_product_;
    return memory_.data() + index * images_.floats();
  }

  // What a panel of a product takes from them.
  void gather(GatherFunction function, int64_t product, const PanelPart& part) const;

 private:
  float* lay_out(int64_t index) const;

  const Images& images_;
  int64_t batch_, together_;
  int64_t first_product_ = 0, products_ = 0, first_image_ = 0, of_each_ = 0;
  KeptMemory memory_;
};

}  // namespace onnxbf

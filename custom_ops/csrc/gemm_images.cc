// Matrix products whose right factor is taken from images.
#include <algorithm>

#include "float_environment.h"
#include "multiplication.h"
#include "sizes.h"

namespace onnxbf {
namespace {

constexpr int64_t kFewPanels = 8;     // with so many, or fewer, of b, tasks are made as small as can be
constexpr int64_t kImageFloats = 1 << 19;  // of images laid out, and of panels of b: what a core's own cache holds
constexpr int64_t kMostPanels = 16;  // of tasks that pack panels of their own

class ImageMultiplication : public Multiplication {
 public:
  ImageMultiplication(const Kernels& kernels, const Arithmetic& arithmetic, const Product& product)
      : Multiplication(kernels, arithmetic, product),
        images_(product.b.images.get()),
        by_parts_(images_of_each() > 1 && sums_.is_divisible()),
        late_(by_parts_ || right_panels_ > kFewPanels) {
    if (late_ && sums_.is_direct()) order_images();
  }

  void run(const ParallelFor& parallel) {
    pack(a_, 0, sums_.depth(), parallel);
    if (by_parts_ && compute_by_parts(parallel)) return;
    late_ = right_panels_ > kFewPanels;
    compute_by_products(parallel);
  }

 private:
  int64_t images_of_each() const {
    return static_cast<int64_t>(images_->from.size()) / batch();
  }

  // Where the products that come by whole pairs stand in an image, in the profile's order: for what takes
  // them as they lie.
  void order_images() {
    const bool turned = arithmetic_.step == kOddFirst;
    const int64_t period = images_->period(), whole = turned ? period / 2 * 2 : period;
    if (images_of_each() > 1 && whole < period) return;
    for (int64_t k = 0; k < whole; ++k) {
      order_.push_back(images_->inner[static_cast<size_t>(turned ? k ^ 1 : k)]);
    }
  }

  DirectColumns find_columns(int64_t column) const {
    const int64_t first = column * tiles_.columns;
    const int64_t count = std::min(tiles_.columns, product_.columns - first);
    if (order_.empty()) return {};
    return onnxbf::find_columns(images_->outer.data() + first, count,
                                tiles_.columns / tiles_.vectors, tiles_.vectors);
  }

  void lay_out(const Canvases& canvases, const ParallelFor& parallel) const {
    parallel(canvases.tasks(), [&](int64_t i) {
      const FloatEnvironment nearest(false);
      canvases.run(i, [&](float* numbers, int64_t count) { b_.finish(numbers, count); });
    });
  }

  // So many products at a time that their images stay in the cache.
  void compute_by_products(const ParallelFor& parallel) {
    const int64_t of_each = images_of_each();
    const int64_t floats = std::max<int64_t>(images_->floats() * of_each, 1);
    const int64_t wanted = late_ ? std::max<int64_t>(kImageFloats / floats, 1) : batch();
    const int64_t together = std::min(wanted, batch());
    Canvases canvases(*images_, batch(), together, of_each);
    b_.take(canvases);
    for (int64_t first = 0; first < batch(); first += together) {
      const int64_t count = std::min(together, batch() - first);
      canvases.choose(first, count, 0, of_each);
      lay_out(canvases, parallel);
      if (late_) {
        const int64_t panels = count * b_.panels();
        const int64_t of_task = std::clamp<int64_t>(panels / kFewTasks, 1, kMostPanels);
        parallel((panels + of_task - 1) / of_task, [&](int64_t i) {
          compute_late(canvases, first * b_.panels() + i * of_task,
                       first * b_.panels() + std::min((i + 1) * of_task, panels));
        });
      } else {
        pack(b_, 0, sums_.depth(), parallel);
        compute_packed(parallel);
      }
    }
  }

  // All products of some panels of b, each of which exists no longer than that, or never.
  void compute_late(const Canvases& canvases, int64_t begin, int64_t end) const {
    const int64_t largest = kRowBlock / tiles_.rows;
    const Panels own(1, b_.panel_floats());
    const FloatEnvironment nearest(false);  // set once: those within find it so
    for (int64_t i = begin; i < end; ++i) {
      const int64_t batch = i / b_.panels(), column = i % b_.panels();
      const DirectColumns columns = find_columns(column);
      if (!columns.fits) b_.fill(batch, column, own[0]);
      for (int64_t first = 0; first < a_.panels(); first += largest) {
        Block block{batch, first, std::min(first + largest, a_.panels()), column, own[0]};
        columns.fits ? compute_direct(canvases, columns, block, own[0]) : compute(block);
      }
    }
  }

  // `panel`: memory for what is packed all the same, a last pair that is none, and all where there are NaNs.
  void compute_direct(const Canvases& canvases, const DirectColumns& columns, Block block,
                      float* panel) const {
    alignas(64) float sums[kLargestBlock];
    std::fill_n(sums, (block.last - block.first) * sums_.tile_size(), 0.0f);
    const auto direct = static_cast<int64_t>(order_.size());
    Ahead ahead;
    results_.ask_ahead(block, ahead);
    ahead.ask_for_all();
    if (direct < sums_.depth()) {
      b_.fill(block.batch, block.column, direct, sums_.depth(), panel);
    }
    {
      const FloatEnvironment environment(arithmetic_.flush);
      sums_.add_direct(block, 0, direct, canvases.image(block.batch, 0), order_.data(), columns,
                       sums);
      block.b = panel;
      block.begin = direct;
      sums_.add_products(block, direct, sums_.depth(), sums);
    }
    block.b = nullptr;
    if (finish(block, sums)) return;
    b_.fill(block.batch, block.column, panel);
    block.b = panel;
    block.begin = 0;
    finish(block, sums);
  }

  // Long sums, of many images: those of some images at a time, to sums that stay. False where there are NaNs that
  // it cannot settle.
  bool compute_by_parts(const ParallelFor& parallel) {
    const int64_t period = images_->period(), all = images_of_each();
    const int64_t panel = period * tiles_.columns;
    const bool few = right_panels_ <= kFewPanels;
    const int64_t floats = few ? std::max(images_->floats() * batch(), panel * right_panels_)
                               : images_->floats() * batch();
    int64_t together = std::max<int64_t>(kImageFloats / std::max<int64_t>(floats, 1), 1);
    together = std::min(together + together % 2, all);  // pairs stay together
    Canvases canvases(*images_, batch(), batch(), together);
    b_.take(canvases);
    const Panels sums(right_panels_, sums_of_panel());
    clear(sums);
    const Panels panels(few && order_.empty() ? right_panels_ : 0, b_.floats_of(together * period + 1));
    for (int64_t first = 0; first < all; first += together) {
      const int64_t last = std::min(first + together, all);
      canvases.choose(0, batch(), first, last - first);
      lay_out(canvases, parallel);
      const int64_t begin = first * period, end = last == all ? sums_.depth() : last * period;
      if (!order_.empty()) {
        add_images(parallel, canvases, first, last, sums);
      } else {
        few ? add_few(parallel, begin, end, panels, sums) : add_many(parallel, begin, end, sums);
      }
    }
    return finish_all(sums, parallel);
  }

  // The products [begin, end), of few panels: all of these are packed, and tasks have one tile.
  void add_few(const ParallelFor& parallel, int64_t begin, int64_t end, const Panels& panels,
               const Panels& sums) const {
    const int64_t length = kPackFloats / tiles_.columns / 2 * 2;
    const int64_t parts = (end - begin + length - 1) / length;
    parallel(right_panels_ * parts, [&](int64_t i) {
      const FloatEnvironment nearest(false);
      const int64_t index = i / parts, start = begin + i % parts * length;
      b_.fill(index / b_.panels(), index % b_.panels(), start, std::min(start + length, end),
              panels[index] + b_.floats_of(start - begin));
    });
    parallel(right_panels_ * a_.panels(), [&](int64_t i) {
      const int64_t index = i / a_.panels(), row = i % a_.panels();
      const Block block{index / b_.panels(), row,           row + 1,
                        index % b_.panels(), panels[index], begin};
      const FloatEnvironment environment(arithmetic_.flush);
      sums_.add_products(block, begin, end, sums[index] + row * sums_.tile_size());
    });
  }

  // The products of images [first, last), as they lie, where columns do so that this can be; tasks have a
  // tile where there are few panels, else all of one.
  void add_images(const ParallelFor& parallel, const Canvases& canvases, int64_t first,
                  int64_t last, const Panels& sums) const {
    const int64_t period = images_->period();
    const int64_t tasks = right_panels_ <= kFewPanels ? a_.panels() : 1;
    parallel(right_panels_ * tasks, [&](int64_t i) {
      const int64_t index = i / tasks, batch = index / b_.panels(), column = index % b_.panels();
      const int64_t row = i % tasks * (a_.panels() / tasks);
      const Block block{batch, row, row + a_.panels() / tasks, column, nullptr};
      float* of_block = sums[index] + row * sums_.tile_size();
      const DirectColumns columns = find_columns(column);
      if (!columns.fits) return add_packed(block, first * period, last * period, of_block);
      const FloatEnvironment environment(arithmetic_.flush);
      for (int64_t image = first; image < last; ++image) {
        sums_.add_direct(block, image * period, period, canvases.image(batch, image),
                         order_.data(), columns, of_block);
      }
    });
  }

  // The same of many panels: tasks have one of them, of which they pack a part at a time.
  void add_many(const ParallelFor& parallel, int64_t begin, int64_t end,
                const Panels& sums) const {
    parallel(right_panels_, [&](int64_t index) {
      const Block block{index / b_.panels(), 0, a_.panels(), index % b_.panels(), nullptr};
      add_packed(block, begin, end, sums[index]);
    });
  }

  void add_packed(Block block, int64_t begin, int64_t end, float* sums) const {
    const Panels own(1, b_.floats_of(kDepthBlock));
    block.b = own[0];
    for (int64_t start = begin; start < end; start += kDepthBlock) {
      const int64_t stop = std::min(start + kDepthBlock, end);
      {
        const FloatEnvironment nearest(false);
        b_.fill(block.batch, block.column, start, stop, own[0]);
      }
      const FloatEnvironment environment(arithmetic_.flush);
      block.begin = start;
      sums_.add_products(block, start, stop, sums);
    }
  }

  const Images* images_;
  bool by_parts_;  // whether they are laid out and summed some at a time
  bool late_;      // whether panels of b are packed one by one
  std::vector<int64_t> order_;  // of images that are taken as they lie; else empty
};

}  // namespace

void multiply_images(const Kernels& kernels, const Arithmetic& arithmetic, const Product& product,
                     const ParallelFor& parallel) {
  ImageMultiplication(kernels, arithmetic, product).run(parallel);
}

}  // namespace onnxbf

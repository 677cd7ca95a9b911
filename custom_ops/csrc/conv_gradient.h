// The gradients of a convolution: which products are summed where, and in which order.
//
// Nothing is unfolded into columns of patches. Towards the input, the gradient of the output is
// padded with zeros and lies row after row, so that each weight meets it shifted by one number; with
// strides, the inputs of each remainder are an image of their own that some weights never touch.
// Towards the weights, input and gradient are turned to have their channels innermost; images are
// summed in chunks that the shape alone decides, and the chunks' sums in order.
#pragma once

#include <cstdint>
#include <vector>

#include "conv_shape.h"
#include "instruction_sets.h"

namespace onnxbf {

// Both are of three spatial dimensions, no more.

// The gradient of the input. `pack` every index, then `run` every task, on any threads.
class ConvInputGradient {
 public:
  ConvInputGradient(const ConvShape& shape, const Kernels& kernels);

  int64_t packed_size() const;  // floats
  int64_t pack_count() const { return shape_.groups * tiles_; }
  void pack(int64_t index, const float* weights, float* packed) const;

  int64_t task_count() const;
  int64_t scratch_size() const;  // floats that each running task needs for itself
  void run(int64_t task, const float* dy, const float* packed, float* scratch, float* dx) const;

 private:
  // The inputs whose index leaves one remainder by the stride, in each dimension.
  struct Class {
    int64_t first[3], count[3];
    std::vector<int64_t> taps;      // indices of the weights that reach them
    std::vector<int64_t> offsets;   // where these meet the padded gradient
    int64_t packed;                 // floats of a group's packed weights before this class's
  };

  void add_class(const int64_t (&first)[3]);
  void pad(const float* dy, int64_t depth, int64_t top, int64_t rows, float* padded) const;

  ConvShape shape_;
  const Kernels& kernels_;
  std::vector<Class> classes_;
  int64_t low_[3], reach_[3];  // the least shift of a weight, and how many there are
  int64_t grid_[3];            // the size of the largest class
  int64_t tiles_;              // of channels
  int64_t row_, band_, bands_; // numbers in a padded row; rows of a task
};

// The gradients of the weights and the bias. `run` every task, then `add` every index.
class ConvWeightGradient {
 public:
  ConvWeightGradient(const ConvShape& shape, const Kernels& kernels);

  int64_t task_count() const { return chunks_ * shape_.groups * blocks_; }
  int64_t sums_size() const { return sums_size_; }  // floats that each task leaves behind
  int64_t scratch_size() const;
  // `sums`: this task's own.
  void run(int64_t task, const float* x, const float* dy, float* scratch, float* sums) const;

  int64_t add_count() const { return shape_.groups * blocks_ * slices_; }
  // `sums`: those of all tasks in order; changed. `dw` and `db` may be null.
  void add(int64_t index, float* sums, float* dw, float* db) const;

 private:
  float* total(int64_t index, int64_t row, int64_t rows, float* sums) const;
  int64_t first_map(int64_t block) const { return shape_.maps * block / blocks_; }
  void add_bias(const float* turned_dy, int64_t outputs, float* sums) const;
  void turn_gradient(const float* dy, int64_t maps, int64_t outputs, int64_t panel_size,
                     float* turned) const;
  void turn_input(const float* x, int64_t depth, int64_t top, int64_t rows, float* turned) const;

  ConvShape shape_;
  const Kernels& kernels_;
  int64_t rows_;             // products of taps and channels
  int64_t blocks_, columns_; // of maps, and how many numbers a block's rows have
  int64_t slices_;           // of channels
  int64_t panel_, panels_;   // of columns
  int64_t band_, bands_;     // rows of outputs, taken at a time
  int64_t together_;         // images, likewise
  int64_t units_, chunks_;
  int64_t turned_rows_, turned_width_, turned_size_;
  int64_t run_length_, sums_size_;
  std::vector<int64_t> runs_;
};

}  // namespace onnxbf

// What ONNX Runtime's own kernels compute slowly in training, gradients above all, in float32, as loops
// of each instruction set. custom_ops/gradient_reference.py says what they compute.
//
// Every function gives the same bits on every instruction set: products that are summed are fused
// (one rounding), and sums have an order that the shape alone decides.
#pragma once

#include <cstdint>

namespace onnxbf {

// Some rows of outputs of some images of a convolution, whose products with the inputs are added to the sums.
struct WeightUnit {
  const float* x;   // positions x channels
  const float* dy;  // panels of outputs x panel columns
  int64_t panel;    // at most TileKernels.columns
  float* sums;      // rows x columns
  int64_t columns;  // a multiple of the lanes of every instruction set
  int64_t images, image_step;    // numbers in `x` from one image to the next
  int64_t height, width;         // outputs
  int64_t row_step, column_step; // numbers in `x` from an output to that below and that beside it
  const int64_t* runs;           // where in `x` the rows of the first output begin, run by run
  int64_t run_count, run_length; // rows in a run lie side by side
};

// Some rows of inputs of a convolution, and what their gradients are sums of.
struct InputUnit {
  const float* dy;  // padded planes, one for each map
  int64_t plane;    // numbers from one to the next
  int64_t row;      // numbers in a row
  const float* weights;  // for each tile of rows(tile) channels: maps x taps x rows(tile)
  const int64_t* taps;   // where in a plane each tap meets the first input
  int64_t tap_count, maps, channels;
  int64_t height, width;  // inputs
  float* dx;              // the first input's
  int64_t channel_step, row_step, column_step;
};

// Rows of a layer normalization of x.
struct NormRows {
  const float *dy, *x, *scale;               // scale: one row
  const float *mean, *inverse_deviation;     // one number a row
  float* dx;                                 // nullptr where nobody wants it
  int64_t count, width;
};

// Rows of a layer normalization of x; bias, mean and inverse_deviation: nullptr where there is none.
struct NormalizedRows {
  const float *x, *scale, *bias;  // scale, bias: one row
  float epsilon;
  float *y, *mean, *inverse_deviation;
  int64_t count, width;
};

// Rows of y = Softmax(x). `dx` may be `dy`.
struct SoftmaxGradientRows {
  const float *dy, *y;
  float* dx;
  int64_t count, width;
};

// Images of one channel, one after the other, from whose windows the largest numbers are taken. Arrays:
// height, width.
struct PoolPlanes {
  const float* x;
  int64_t count;
  int64_t in[2], out[2], kernel[2], stride[2], pad[2];  // pad: at the beginning
  // For each output, where its window begins in `x`, perhaps beyond its image, and where within; of each
  // kLongestVector more may be read.
  const int32_t *corners, *firsts;
  // For each column of the kernel, the first output that it meets a number for, and the first behind these.
  const int64_t* spans;
  int64_t first;     // the index of x[0] in its tensor
  float* y;
  int64_t* indices;  // in the tensor
};

// Rows of scores, and the class that each is to choose; rows of class `ignored` cost nothing.
//
// The logarithm of a probability is logit - largest - log_of_sum. These two, one number a row, are enough to
// compute it anew. nullptr where nobody wants one of the three.
struct LossRows {
  const float* logits;
  const int64_t* labels;
  int64_t ignored, count, width;
  float* log_probabilities;  // rows x width
  float *largest, *log_of_sum;
  float* losses;  // one number a row
};

struct LossGradientRows {
  const float* logits;                // or, without the next two, logarithms of probabilities
  const float *largest, *log_of_sum;  // nullptr: zeros
  const int64_t* labels;
  int64_t ignored, count, width;
  const float* dy;  // of each row's loss
  int64_t dy_step;  // from row to row; 0: one number for all
  float* dx;        // may be `logits`
};

struct GradientKernels {
  // dx = dy where x > 0, else 0. `dx` may be `dy`.
  void (*relu)(const float* dy, const float* x, float* dx, int64_t count);
  // sums += terms
  void (*add)(const float* terms, float* sums, int64_t count);
  // out[column][row] = in[row][column]; a row of `out` is filled with zeros up to `width`.
  void (*transpose)(const float* in, int64_t in_step, int64_t rows, int64_t columns, float* out,
                    int64_t out_step, int64_t width);
  void (*weight_unit)(const WeightUnit& unit);
  void (*input_unit)(const InputUnit& unit);
  // Adds what the rows add to the gradients of scale and bias.
  void (*layer_norm)(const NormRows& rows, float* scale_sums, float* bias_sums);
  // Of equal numbers the first; of a window in which none is above the least number, that and its first.
  void (*max_pool)(const PoolPlanes& planes);
  void (*cross_entropy)(const LossRows& rows);
  void (*cross_entropy_gradient)(const LossGradientRows& rows);
  void (*normalize)(const NormalizedRows& rows);
  void (*softmax)(const SoftmaxGradientRows& rows);  // its gradient
};

// The first of `count` rows that tile `index` of `tiles` holds: they differ by one at most.
constexpr int64_t tile_begin(int64_t index, int64_t tiles, int64_t count) {
  return count * index / tiles;
}

}  // namespace onnxbf

// Quantizing to integers of a few bits over the range that numbers have: of a tensor, of each sample,
// or of samples that a Householder reflection mixes. onnxbf/range_quantizer.py is the specification.
//
// Every operation is one of IEEE 754, in an order that the shape decides: the same bits on every
// instruction set and for every number of threads.
#pragma once

#include <cstdint>
#include <functional>

#include "kernels.h"

namespace onnxbf {

struct Kernels;

// x becomes round((x - low) * scale + zero), kept within 0 and `bins`, and back.
struct Affine {
  float low, scale, zero, bins;
};

struct RangeKernels {
  // The smallest and the largest of `count` numbers; both NaN where one of them is.
  void (*span)(const float* x, int64_t count, float* low, float* high);
  // `words`: of random bits, to round stochastically; nullptr: to nearest even.
  void (*affine)(const Affine& affine, const uint32_t* words, const float* x, float* out,
                 int64_t count);
  // t += v * (s * x), from 0 on where this is the `first` row.
  void (*project)(const float* x, float s, float v, bool first, float* t, int64_t count);
  // out = s * x - twice * t, and out = (x - twice * t) * s.
  void (*reflect)(const float* x, float s, float twice, const float* t, float* out, int64_t count);
  void (*restore)(const float* x, float s, float twice, const float* t, float* out, int64_t count);
};

enum Grouping : int32_t { kTensor, kSample, kHouseholder };

struct RangeSpec {
  int32_t bits;        // 2 to 8
  int32_t grouping;    // Grouping
  int32_t exact_zero;  // 1: the range holds 0, which stays 0
  int32_t stochastic;
};

// Why `spec` names no quantizer of `rows` samples, in one sentence; nullptr where it does.
const char* problem(const RangeSpec& spec, int64_t rows);

// Calls a function for each of [0, count), on several threads.
using Tasks = std::function<void(int64_t count, const std::function<void(int64_t)>& task)>;

// `in` holds `rows` samples of `columns` numbers; `out` is not `in`.
void quantize_range(const Kernels& kernels, const RangeSpec& spec, const RandomKey& key,
                    const float* in, float* out, int64_t rows, int64_t columns, const Tasks& tasks);

}  // namespace onnxbf

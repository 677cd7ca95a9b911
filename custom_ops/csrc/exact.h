// Sums without error, a number at a time: what the fast kernels fall back to, and `exact`.
//
// Compiled once, for any CPU. Expects rounding to nearest, the default of every CPU.
#pragma once

#include <cstdint>

namespace onnxbf {

// a * b + c, rounded once: to odd, or to nearest even. `overflows`: what is 2^128 or more becomes
// infinite, else the largest number. `flush`: a result whose magnitude, rounded to 24 bits, is below
// 2^-126 becomes zero.
float multiply_add_to_odd(float a, float b, float c, bool overflows);
float multiply_add_to_nearest(float a, float b, float c, bool flush);

// a * b + c * d, rounded once, to nearest even.
float two_products_to_nearest(float a, float b, float c, float d);

// a + b to odd as Arm's BFRound has it: from 2^128 on infinity, below 2^-126 zero.
float add_to_odd(float a, float b);

// The sum of products, without error: a fixed-point number of 640 bits.
class ExactSum {
 public:
  void add(float a, float b);
  // The sum, rounded to nearest even.
  float round();

 private:
  static constexpr int32_t kLimbs = 20;
  int64_t limbs_[kLimbs] = {};  // of 32 bits each, carries not yet passed on; the unit is 2^-298
  double special_ = 0;          // the sum of infinite products and NaN
  bool is_special_ = false;
  bool is_negative_zero_ = true;  // all products so far are -0
};

}  // namespace onnxbf

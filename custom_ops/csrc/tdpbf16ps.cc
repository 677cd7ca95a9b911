#include "tdpbf16ps.h"

#include <initializer_list>
#include <optional>

#include "exact.h"
#include "float_bits.h"
#include "float_environment.h"
#include "plan.h"

namespace onnxbf {
namespace {

constexpr uint32_t kArisen = kQuietNan | kSign;

constexpr int64_t kMostPairs = 16;

float number_of(uint32_t pair, int64_t odd) {
  return flushed(odd != 0 ? pair & 0xFFFF0000 : pair << 16);
}

// Every second product of a chunk.
struct Half {
  int64_t count;
  const float* a;
  int64_t a_step;
  const float* b;
  int64_t b_step;

  std::optional<float> given_nan() const {
    for (int64_t k = count - 1; k >= 0; --k) {
      for (const float number : {a[k * a_step], b[k * b_step]}) {
        if (number != number) return quiet(number);
      }
    }
    return std::nullopt;
  }

  bool sum_is_nan() const {
    const FloatEnvironment nearest(false);
    float sum = 0;
    for (int64_t k = 0; k < count; ++k) {
      sum = multiply_add_to_nearest(a[k * a_step], b[k * b_step], sum, true);
    }
    return sum != sum;
  }
};

}  // namespace

float nan_of_chunk(int64_t count, const float* a, int64_t a_step, const float* b, int64_t b_step) {
  const int64_t half = count / 2;
  const Half even{half, a, a_step, b, b_step};
  const Half odd{half, a + half * a_step, a_step, b + half * b_step, b_step};
  if (const std::optional<float> nan = even.given_nan()) return *nan;
  const std::optional<float> nan = odd.given_nan();
  return nan && !even.sum_is_nan() ? *nan : float_of(kArisen);
}

float tdpbf16ps(float sum, int64_t pairs, const uint32_t* a, const uint32_t* b, int64_t b_step) {
  if (sum != sum) return quiet(sum);
  const FloatEnvironment nearest(false);
  float left[2 * kMostPairs], right[2 * kMostPairs], halves[2] = {};
  for (int64_t k = 0; k < pairs; ++k) {
    for (int64_t odd : {0, 1}) {
      const int64_t place = k + odd * pairs;
      left[place] = number_of(a[k], odd);
      right[place] = number_of(b[k * b_step], odd);
      halves[odd] = multiply_add_to_nearest(left[place], right[place], halves[odd], true);
    }
  }
  const float chunk = multiply_add_to_nearest(1, halves[0], halves[1], true);
  const float after = multiply_add_to_nearest(1, flushed(bits_of(sum)), chunk, true);
  return after == after ? after : nan_of_chunk(2 * pairs, left, 1, right, 1);
}

}  // namespace onnxbf

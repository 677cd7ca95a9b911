#include "tdpbf16ps.h"

#include <cstring>
#include <initializer_list>
#include <optional>

#include "exact.h"
#include "float_environment.h"
#include "plan.h"

namespace onnxbf {
namespace {

float with_bits_set(float number, uint32_t set) {
  uint32_t bits;
  std::memcpy(&bits, &number, sizeof bits);
  bits |= set;
  std::memcpy(&number, &bits, sizeof bits);
  return number;
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
        if (number != number) return with_bits_set(number, kQuietNan);
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
  const float arisen = with_bits_set(0, kQuietNan | kSign);
  const int64_t half = count / 2;
  const Half even{half, a, a_step, b, b_step};
  const Half odd{half, a + half * a_step, a_step, b + half * b_step, b_step};
  if (const std::optional<float> nan = even.given_nan()) return *nan;
  const std::optional<float> nan = odd.given_nan();
  return nan && !even.sum_is_nan() ? *nan : arisen;
}

}  // namespace onnxbf

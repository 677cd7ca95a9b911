// Tiles of sums as tensor cores are modelled (aligned.h), a sum in each lane.
//
// Cut off below the common last place, a term is a whole number of that place: 2^(bits + 2) at most,
// of which half a group, and the accumulator, add up within 32 bits. What float32 cannot hold on the
// way (NaN, infinities, exponents near the ends of its range) is left to add_aligned.
#pragma once

#include "aligned.h"
#include "gemm-inl.h"

namespace onnxbf::ONNXBF_INSTRUCTION_SET {
namespace {

constexpr uint32_t kExponentOfOne = 2 * kExponentBias;  // of a product, as exponents are kept here

inline Word magnitude_of(Float number) { return bits_of(number) & ~kSign; }

inline Word exponent_field(Float number, Word least) {
  return larger_of(magnitude_of(number) >> kMantissaBits, least);
}

// The terms of one group in each lane.
struct AlignedGroup {
  Float products[kLongestGroup];
  Word largest{};  // exponent, those of both factors added up, each biased; 0: there is none
  Word biggest{};  // magnitude
  Word lost{};     // not zero: a product that is not zero became so

  void take(int64_t k, Float a, Float b, Word least) {
    const Float product = a * b;
    const Word magnitude = magnitude_of(product);
    const Word exponent = exponent_field(a, least) + exponent_field(b, least);
    products[k] = product;
    largest = larger_of(largest, greater(magnitude, Word{}) ? exponent : Word{});
    biggest = larger_of(biggest, magnitude);
    const Word smaller = smaller_of(magnitude_of(a), magnitude_of(b));
    lost = larger_of(lost, greater(magnitude, Word{}) ? Word{} : smaller);
  }

  // The accumulator, a float32 number.
  void take_sum(Float sum) {
    const Word magnitude = magnitude_of(sum);
    const Word exponent = exponent_field(sum, all(1)) + kExponentBias;
    largest = larger_of(largest, greater(magnitude, Word{}) ? exponent : Word{});
    biggest = larger_of(biggest, magnitude);
  }
};

inline Int cut_off(Float number, Float scale) { return convert<Int>(number * scale); }

// (first + second) * unit: cut off to 24 bits, or rounded to odd.
inline Float aligned_sum(Int first, Int second, Float unit, bool to_odd) {
  // The sum is 2 * half + low, and so is its magnitude.
  const Int low = (first ^ second) & 1;
  Int half = (first >> 1) + (second >> 1) + (first & second & 1);
  const Word sign = (Word)half & kSign;
  half = half < Int{} ? -half - low : half;
  Float top = convert<Float>(half);
  const Int above = convert<Int>(top) > half;  // all ones, or in one lane 1
  top = float_of(bits_of(top) - ((Word)above & 1));
  const Int is_small = half < (Int{} + (1 << kMantissaBits));
  const Float rest = is_small ? convert<Float>(low) : Float{};
  Word bits = bits_of(top + top + rest);
  const Int dropped = (half - convert<Int>(top)) | low;
  const Word sticky = is_small ? Word{} : (greater((Word)dropped, Word{}) ? all(1) : Word{});
  if (to_odd) bits = bits | sticky;
  return float_of(bits_of(float_of(bits) * unit) | sign);
}

// Adds one group to a vector of sums.
class AlignedStep {
 public:
  explicit AlignedStep(const Alignment& alignment)
      : alignment_(alignment),
        bits_(static_cast<uint32_t>(alignment.bits)),
        least_(all(static_cast<uint32_t>(alignment.least_exponent + kExponentBias))),
        smallest_(all(kExponentOfOne - 125 + bits_)),
        greatest_(all(kExponentOfOne + 126)) {}

  // The products a(k) * b(k); alone(i): the sum in lane i, by add_aligned.
  template <class Left, class Right, class Alone>
  Float operator()(int64_t count, const Left& a, const Right& b, const Alone& alone,
                   Float sum) const {
    AlignedGroup group;
    for (int64_t k = 0; k < count; ++k) group.take(k, a(k), b(k), least_);
    group.take_sum(sum);
    const Word largest = greater(group.largest, Word{}) ? group.largest : all(kExponentOfOne);
    const bool in_range =
        !any_differs(smaller_of(larger_of(largest, smallest_), greatest_), largest) &&
        !any_differs(group.lost, Word{}) &&
        !any_differs(smaller_of(group.biggest, all(kInfinity - 1)), group.biggest);
    if (!in_range) return each_lane(alone);
    const Float scale =
        float_of((kExponentOfOne + kExponentBias + bits_ - largest) << kMantissaBits);
    const Float unit = float_of((largest - kExponentBias - bits_) << kMantissaBits);
    Int parts[2] = {cut_off(sum, scale), Int{}};
    for (int64_t k = 0; k < count; ++k) {
      Int& part = parts[k < count / 2];
      part = part + cut_off(group.products[k], scale);
    }
    return aligned_sum(parts[0], parts[1], unit, alignment_.to_odd);
  }

 private:
  const Alignment& alignment_;
  uint32_t bits_;
  Word least_, smallest_, greatest_;
};

// Adds `count` products, one group, to each sum.
void tile_aligned(const Alignment& alignment, int64_t count, const float* a, const float* b,
                  float* sums) {
  const AlignedStep step(alignment);
  for_sums(sums, [&](int64_t row, int64_t column, Float sum) {
    return step(
        count, [&](int64_t k) { return spread(a[k * kRows + row]); },
        [&](int64_t k) { return load<Float>(b + k * kColumns + column); },
        [&](int64_t i) {
          return add_aligned(alignment, count, a + row, kRows, b + column + i, kColumns,
                             lane(sum, i));
        },
        sum);
  });
}

}  // namespace
}  // namespace onnxbf::ONNXBF_INSTRUCTION_SET

// The steps of elementwise programs (elementwise.inc), over lanes.
#pragma once

#include "gemm-inl.h"
#include "steps.h"

namespace onnxbf::ONNXBF_INSTRUCTION_SET {
namespace {

// Where an operand is NaN, so is the result, but for ReluGrad's second. Of equal numbers, zeros of both
// signs among them, Max and Min take the second; Sign of both zeros is +0, Relu keeps them.
inline Float step_Add(Float a, Float b) { return a + b; }
inline Float step_Sub(Float a, Float b) { return a - b; }
inline Float step_Mul(Float a, Float b) { return a * b; }
inline Float step_Div(Float a, Float b) { return a / b; }
inline Float step_Max(Float a, Float b) {
  const Float larger = a > b ? a : b;
  return a == a ? larger : a;
}
inline Float step_Min(Float a, Float b) {
  const Float smaller = a < b ? a : b;
  return a == a ? smaller : a;
}
inline Float step_Sqrt(Float a) { return square_root(a); }
inline Float step_Neg(Float a) { return float_of(bits_of(a) ^ kSign); }
inline Float step_Abs(Float a) { return float_of(bits_of(a) & ~kSign); }
inline Float step_Sign(Float a) {
  const Float one = spread(1.0f), zero{};
  const Float not_above = a < zero ? -one : zero;
  const Float sign = a > zero ? one : not_above;
  return a == a ? sign : a;
}
inline Float step_Relu(Float a) { return a < Float{} ? Float{} : a; }
inline Float step_ReluGrad(Float dy, Float x) { return x > Float{} ? dy : Float{}; }

// Vectors of an operand, or the number that stands for all of them.
template <bool single>
struct Lane {
  explicit Lane(const float* numbers) : first(numbers) {
    if constexpr (single) all = spread(*numbers);
  }
  Float at(int64_t i) const {
    if constexpr (single) return all;
    return load<Float>(first + i);
  }
  Float last(int64_t i, int64_t count) const {
    if constexpr (single) return all;
    return load_some(first + i, count);
  }

  const float* first;
  Float all{};
};

template <Float (*of)(Float, Float), bool single_a, bool single_b>
void binary(const float* a, const float* b, float* out, int64_t count) {
  const Lane<single_a> left(a);
  const Lane<single_b> right(b);
  const auto body = [=](int64_t i) { store(out + i, of(left.at(i), right.at(i))); };
  const auto tail = [=](int64_t i, int64_t rest) {
    store_some(out + i, of(left.last(i, rest), right.last(i, rest)), rest);
  };
  for_lanes(count, body, tail);
}

template <Float (*of)(Float), bool single>
void unary(const float* a, const float*, float* out, int64_t count) {
  const Lane<single> operand(a);
  const auto body = [=](int64_t i) { store(out + i, of(operand.at(i))); };
  const auto tail = [=](int64_t i, int64_t rest) {
    store_some(out + i, of(operand.last(i, rest)), rest);
  };
  for_lanes(count, body, tail);
}

#define ONNXBF_STEP_1(name) \
  {unary<step_##name, false>, unary<step_##name, true>, nullptr, nullptr},
#define ONNXBF_STEP_2(name)                                                \
  {binary<step_##name, false, false>, binary<step_##name, true, false>,    \
   binary<step_##name, false, true>, binary<step_##name, true, true>},
#define ONNXBF_STEP(name, operands) ONNXBF_STEP_##operands(name)
constexpr StepKernels step_kernels = {{
#include "elementwise.inc"
}};
#undef ONNXBF_STEP_1
#undef ONNXBF_STEP_2

}  // namespace
}  // namespace onnxbf::ONNXBF_INSTRUCTION_SET

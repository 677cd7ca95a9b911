// The steps of elementwise programs (elementwise.inc), over lanes.
#pragma once

#include <tuple>

#include "float_tile-inl.h"
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

// Calls body(place in a, in b, in out) for whole vectors, tail(.., rest) for what is left of a row. Of several rows,
// vectors below each other come in turn.
template <class Body, class Tail>
inline void for_rows(const StepRows& step, const Body& body, const Tail& tail) {
  if (step.rows == 1) {
    const auto last = [&](int64_t i, int64_t rest) { tail(i, i, i, rest); };
    return for_lanes(step.columns, [&](int64_t i) { body(i, i, i); }, last);
  }
  const auto [rows, a, b, out] = std::tuple(step.rows, step.a_stride, step.b_stride, step.out_stride);
  const auto whole = [&](int64_t i) {
    for (int64_t row = 0; row < rows; ++row) body(row * a + i, row * b + i, row * out + i);
  };
  const auto some = [&](int64_t i, int64_t rest) {
    for (int64_t row = 0; row < rows; ++row) tail(row * a + i, row * b + i, row * out + i, rest);
  };
  for_lanes(step.columns, whole, some);
}

template <Float (*of)(Float, Float), bool single_a, bool single_b>
void binary(const StepRows& step) {
  const Lane<single_a> left(step.a);
  const Lane<single_b> right(step.b);
  float* out = step.out;
  const auto body = [=](int64_t a, int64_t b, int64_t to) {
    store(out + to, of(left.at(a), right.at(b)));
  };
  const auto tail = [=](int64_t a, int64_t b, int64_t to, int64_t rest) {
    store_some(out + to, of(left.last(a, rest), right.last(b, rest)), rest);
  };
  for_rows(step, body, tail);
}

template <Float (*of)(Float), bool single>
void unary(const StepRows& step) {
  const Lane<single> operand(step.a);
  float* out = step.out;
  const auto body = [=](int64_t a, int64_t, int64_t to) { store(out + to, of(operand.at(a))); };
  const auto tail = [=](int64_t a, int64_t, int64_t to, int64_t rest) {
    store_some(out + to, of(operand.last(a, rest)), rest);
  };
  for_rows(step, body, tail);
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

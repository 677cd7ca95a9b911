// What the loops need of an instruction set beyond the operators of its word type.
//
// Before this file, kernels_<set>.cc defines in its own namespace
//   Word  lanes of uint32_t (GCC and clang vector extensions), or uint32_t itself,
//   Wide  lanes of uint64_t, as many bytes, or uint64_t itself,
//   smaller_of, larger_of        of two words, as signed numbers,
//   largest_lane(Word)           of all lanes, as signed numbers,
//   multiply_low(Wide, Wide)     products of the lower halves of the lanes,
//   upper_half(Wide)             the upper halves, in the place of the lower ones,
//   interleave(Wide, Wide)       the lower halves of the first, below those of the second,
//   store_past_cache(to, Word)   a store that does not fill the cache, `to` aligned to 16 bytes,
//   finish_stores()              makes such stores visible before all that follow,
//   kChains                      how many Philox chains it mixes best at a time,
//   Float                        lanes of float, as many bytes as a word, or float itself,
//   multiply_add(a, b, c, flush) a * b + c, rounded once; `flush`: see Arithmetic. On x86 the CPU
//                                is told to flush (gemm.cc), so that the argument is not needed,
//   square_root(Float)           rounded once,
//   any_differs(Word, Word)      whether some lane does,
//   any_is_zero(Word)            whether some lane is,
//   some_lower_half_is_zero      of an array of words,
//   ONNXBF_LOADS_SOME            a macro, where it has load_some and store_some,
//   ONNXBF_CHOOSES_FLOATS        a macro, where it has smaller_of and larger_of of floats,
//   ONNXBF_ROUNDS_TO_ODD         a macro, where it has multiply_add_to_odd(a, b, c): beyond the
//                                largest number, that number,
//   ONNXBF_ADDS_TOWARDS_ZERO     a macro, where it has add_towards_zero(a, b) of magnitudes,
//   ONNXBF_DOUBTS                a macro, where it has a struct Doubts (gemm-inl.h) of its own,
//   ONNXBF_NOTES_SUBNORMALS      a macro, where it has clear_notes() and left_normal_numbers(results):
//                                whether an operation since then met others (notes_x86-inl.h),
//   ONNXBF_TURNS_FOURS           a macro, where it has load_fours(from, stride): four numbers of each of
//                                as many lines as fit, and turn_fours(Float (&rows)[4]): columns of
//                                4 x 4 numbers become rows,
//   kRows, kVectors              the tile of sums that its registers hold, in rows and vectors.
// Everything else is written once, for all of them: the operators and ?: of vectors and of plain
// integers read the same.
#pragma once

#include <cstddef>
#include <cstdint>

#include "plan.h"

#if defined(__clang__)
#define ONNXBF_UNROLL _Pragma("unroll")
#else
#define ONNXBF_UNROLL _Pragma("GCC unroll 16")
#endif

namespace onnxbf::ONNXBF_INSTRUCTION_SET {
namespace {

constexpr int64_t kLanes = sizeof(Word) / sizeof(uint32_t);
constexpr int64_t kWideLanes = sizeof(Wide) / sizeof(uint64_t);

inline Word all(uint32_t value) { return Word{} + value; }

template <class V>
inline V load(const void* from) {
  V lanes;
  __builtin_memcpy(&lanes, from, sizeof lanes);
  return lanes;
}

template <class V>
inline void store(void* to, V lanes) {
  __builtin_memcpy(to, &lanes, sizeof lanes);
}

// Asks for what is read a page later. The CPU's own prefetching ends with a page, and rounding takes
// too many instructions for the loads of the next one to be under way while it lasts. Measured: in
// memory, rounding in place took 0.92 of the time of a copy without this, 0.55 with it.
inline void prefetch(const void* from) {
  constexpr int64_t kPage = 4096;
  if constexpr (sizeof(Word) >= 32) __builtin_prefetch(static_cast<const char*>(from) + kPage);
}

// Comparisons take words as signed numbers: AVX2 has no others. Their result chooses lanes in
// a ? b : c.
#if defined(ONNXBF_ONE_LANE)
template <class T>
using Lanes = T;
inline bool greater(Word a, Word b) { return (int32_t)a > (int32_t)b; }
template <class To, class From>
inline To convert(From from) {
  return static_cast<To>(from);
}
inline Word bits_of(float number) { return load<Word>(&number); }
inline Float float_of(Word bits) { return load<Float>(&bits); }
using Int = int32_t;
#else
template <class T>
using Lanes __attribute__((vector_size(kLanes * sizeof(T)))) = T;
using Int = Lanes<int32_t>;
inline Int greater(Word a, Word b) { return (Int)a > (Int)b; }
template <class To, class From>
inline To convert(From from) {
  return __builtin_convertvector(from, To);
}
inline Word bits_of(Lanes<float> numbers) { return (Word)numbers; }
inline Float float_of(Word bits) { return (Float)bits; }
#endif

// Four numbers, whatever the instruction set, and two such vectors shuffled.
using Four = float __attribute__((vector_size(16)));

#if defined(__clang__)
#define ONNXBF_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define ONNXBF_SHUFFLE(a, b, ...) \
  __builtin_shuffle(a, b, (int32_t __attribute__((vector_size(16)))){__VA_ARGS__})
#endif

// Loads `count` numbers, fewer than a vector, and zeros behind them; stores as many.
#if !defined(ONNXBF_LOADS_SOME)
inline Float load_some(const float* from, int64_t count) {
  float padded[kLanes] = {};
  __builtin_memcpy(padded, from, static_cast<size_t>(count) * sizeof(float));
  return load<Float>(padded);
}

inline void store_some(float* to, Float lanes, int64_t count) {
  __builtin_memcpy(to, &lanes, static_cast<size_t>(count) * sizeof(float));
}
#endif

// a < b ? a : b, and a > b ? a : b: where one is NaN, the second.
#if !defined(ONNXBF_CHOOSES_FLOATS)
inline Float smaller_of(Float a, Float b) { return a < b ? a : b; }
inline Float larger_of(Float a, Float b) { return a > b ? a : b; }
#endif

// Calls body(i) for whole vectors of [0, count), then tail(i, rest) for the rest, if any.
template <class Body, class Tail>
inline void for_lanes(int64_t count, const Body& body, const Tail& tail) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) body(i);
  if (i < count) tail(i, count - i);
}

}  // namespace
}  // namespace onnxbf::ONNXBF_INSTRUCTION_SET

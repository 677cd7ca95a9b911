// Numbers one at a time, and their bits. Vectors of them: lanes-inl.h, which files that are compiled for one
// instruction set take instead of this.
#pragma once

#include <cstdint>
#include <cstring>

#include "plan.h"

namespace onnxbf {

template <class To, class From>
inline To of_same_bits(From from) {
  static_assert(sizeof(To) == sizeof(From), "all bits are taken");
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

inline uint32_t bits_of(float number) { return of_same_bits<uint32_t>(number); }
inline uint64_t bits_of(double number) { return of_same_bits<uint64_t>(number); }
inline float float_of(uint32_t bits) { return of_same_bits<float>(bits); }
inline double double_of(uint64_t bits) { return of_same_bits<double>(bits); }

// A NaN as instructions hand it on; and a number as those read it that take subnormals for zeros.
inline float quiet(float nan) { return float_of(bits_of(nan) | kQuietNan); }
inline float flushed(uint32_t bits) {
  return float_of((bits & ~kSign) < kImplicitBit ? bits & kSign : bits);
}

}  // namespace onnxbf

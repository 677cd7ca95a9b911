// Rounding float32 tensors into a narrower number format: what the rest of the library calls.
//
// Every function gives the same bits on every instruction set, for every split of a tensor into
// slices, and whatever the CPU's floating-point control register says (rounding mode, flushing of
// subnormals): the kernels compute with integers. onnxbf/rounding.py is their specification.
#pragma once

#include <cstdint>

namespace onnxbf {

enum Specials : int32_t {
  kIeee,  // the largest exponent holds infinity and NaN
  kNan,   // no infinity; exponent and mantissa all ones is NaN
  kNone,  // every code is a finite number
};

enum Rounding : int32_t {
  kNearestEven,
  kNearestAway,
  kTowardZero,
  kUp,
  kDown,
  kToOdd,
  kStochastic,
};

// A number format, and how values are brought into it (onnxbf.formats.Cast).
struct CastSpec {
  int32_t exponent_bits;  // 2 to 8
  int32_t mantissa_bits;  // 1 to 23
  int32_t specials;       // Specials
  int32_t rounding;       // Rounding
  int32_t flush;          // 1: magnitudes below the smallest normal number become zero
  int32_t saturate;       // 1: magnitudes beyond the largest number, infinities too, become it
  int32_t random_bits;    // 1 to 32, for kStochastic
};

// Together with the index of an element, what its random bits depend on (onnxbf/philox.py).
struct RandomKey {
  uint64_t seed;
  uint32_t node;
  uint32_t step;
};

// Why `spec` names no cast, in one sentence; nullptr where it does. All functions below expect
// casts without a problem.
const char* problem(const CastSpec& spec);

// The same for a format whose numbers are to be stored as codes.
const char* storage_problem(const CastSpec& spec);

// Bytes of a code: 1 or 2.
int32_t code_size(const CastSpec& spec);

// Rounds the elements [begin, end) of a tensor. `in` and `out` point at element `begin`; they may
// be equal, but not overlap otherwise. `tensor_size` is the number of elements of the whole tensor
// (0: this slice is all of it): output too large for the cache is written past it.
void quantize_dequantize(const CastSpec& spec, const RandomKey& key, const float* in, float* out,
                         int64_t begin, int64_t end, int64_t tensor_size = 0);

// The same, storing each number as its code (uint8_t or uint16_t, see code_size).
void quantize(const CastSpec& spec, const RandomKey& key, const float* in, void* codes,
              int64_t begin, int64_t end);

// The numbers that `count` codes stand for. Reads the format of `spec` alone.
void dequantize(const CastSpec& spec, const void* codes, float* out, int64_t count);

// The instruction set in use: the best that this CPU has, or the one that the environment variable
// ONNXBF_INSTRUCTION_SET names (scalar where it names none that this CPU has).
const char* instruction_set();

}  // namespace onnxbf

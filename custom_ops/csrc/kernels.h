// Rounding float32 tensors into a narrower number format: what the rest of the library calls.
//
// Every function gives the same bits on every instruction set, for every split of a tensor into
// slices, and whatever the CPU's floating-point control register says (rounding mode, flushing of
// subnormals): the kernels compute with integers, or so that neither matters. onnxbf/rounding.py is
// their specification.
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

// Elements that are measured at a time.
constexpr int64_t kTile = 1024;

constexpr int64_t tiles_of(int64_t count) { return (count + kTile - 1) / kTile; }

// What rounding made of the elements of a tile. `overflow`: finite numbers that became infinite or
// NaN; `saturated`: those beyond the largest number that became a finite one; `underflow`: those
// that became zero; `nan`: how many are NaN now. The sums, of squares of the numbers and of what
// rounding added to them, leave out those that are not finite before or after.
struct RoundingTile {
  double signal, noise;
  uint32_t overflow, saturated, underflow, nan;
};

// What an update did to the weights of a tile. `updated`: those whose update is not zero;
// `swallowed`: those of them that it left as they were; `unseen`: those of which it left the
// rounded copy as it was. `descent`: the sum of what was taken off each weight times its update;
// `intended`: that of squares of the updates. Both leave out what is not finite.
struct UpdateTile {
  uint32_t updated, swallowed, unseen;
  double descent, intended;
};

// quantize_dequantize that measures. `tiles`: one for every kTile elements of the slice.
void observe_rounding(const CastSpec& spec, const RandomKey& key, const float* in, float* out,
                      int64_t begin, int64_t end, RoundingTile* tiles);

// Measures an update that took `before` to `after`; copies are rounded as `spec` says, both with the
// random bits of key 0.
void observe_update(const CastSpec& spec, const float* update, const float* before,
                    const float* after, int64_t begin, int64_t end, UpdateTile* tiles);

// The tiles of `count` elements, added up in order: {elements, overflow, saturated, underflow, nan, signal, noise} and
// {elements, updated, swallowed, unseen, descent, intended}.
constexpr int64_t kRoundingFields = 7, kUpdateFields = 6;
void add_up(const RoundingTile* tiles, int64_t count, double* fields);
void add_up(const UpdateTile* tiles, int64_t count, double* fields);

// The instruction set in use: the best that this CPU has, or the one that the environment variable
// ONNXBF_INSTRUCTION_SET names (scalar where it names none that this CPU has).
const char* instruction_set();

}  // namespace onnxbf

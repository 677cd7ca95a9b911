// Arithmetic profiles: how a dot product is summed. onnxbf/arithmetic.py is their specification and
// names the sources; both read the same texts.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "kernels.h"

namespace onnxbf {

enum Step : int32_t {
  kFma,
  kOddFirst,
  kEvenOdd,
  kPair,
  kFusedPair,
  kPairwise,
  kKahan,
  kExact,
  kAligned,
};

struct Arithmetic {
  Step step;
  CastSpec accumulator;
  std::optional<CastSpec> operands;
  bool flush;        // subnormals are zero where they are read and where they are written
  bool denormals_in_are_zero;  // where they are read, at least
  bool keeps_nan;    // NaNs come out as the instruction gives them; else as 0x7FC00000
  int64_t chunk;     // 0: none
  int64_t long_chunk;
  CastSpec outer;
  std::optional<CastSpec> result;
  int64_t group;  // of kAligned: products that are added at a time,
  int32_t bits;   // and places below the largest exponent that count

  // Products in a chunk of a sum of `count`.
  int64_t chunk_of(int64_t count) const;
  // Whether some sum is rounded stochastically.
  bool stochastic() const;
  // Products of a sum of `count`, with the zeros beside an odd one out where they come by twos.
  int64_t depth_of(int64_t count) const;
};

// Reads the text of a profile, or of a cast. Throw std::invalid_argument with one sentence.
Arithmetic parse_arithmetic(const std::string& text);
CastSpec parse_cast(const std::string& text);

// Whether a cast of float32 numbers is none: fp32:rne. And whether it is fp32:rtz.
bool is_float32(const CastSpec& cast);
bool cuts_off(const CastSpec& cast);

}  // namespace onnxbf

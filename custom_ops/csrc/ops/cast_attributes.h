// The attributes and inputs that say how to round; their names and defaults are those of
// CAST_DEFAULTS in custom_ops/registry.py.
#pragma once

#include "kernels.h"
#include "ops/node.h"

namespace onnxbf {

// The format alone: exponent_bits, mantissa_bits, specials.
CastSpec read_format(const ort::Attributes& node);

struct CastAttributes {
  // Throws ort::Error if an attribute is not what it may be.
  explicit CastAttributes(const ort::Attributes& node);

  CastSpec spec;
  uint64_t seed;
  uint32_t node;
};

// Where the random bits of a run begin: the inputs `step` and `offset`, after the tensor.
struct RandomPlace {
  RandomPlace(const CastAttributes& cast, const ort::Context& context);

  RandomKey key;
  int64_t offset;
};

}  // namespace onnxbf

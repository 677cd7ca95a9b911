// The attributes of operators that compute under an arithmetic profile.
#pragma once

#include <optional>
#include <string>

#include "sum.h"
#include "ops/node.h"

namespace onnxbf {

// A cast that an attribute names, if it does. Throws ort::Error where it is none.
std::optional<CastSpec> read_cast(const ort::KernelAttributes& node, const char* name);

struct ComputeAttributes {
  // Throws ort::Error if an attribute is not what it may be. `unnamed`: the profile where none is named;
  // nullptr: there must be one.
  explicit ComputeAttributes(const ort::KernelAttributes& node, const char* unnamed = nullptr);

  // Computes a product whose shape, factors and result are set, on ONNX Runtime's threads. `step`:
  // the index of the input of this name.
  void multiply(const ort::Context& context, Product product, size_t step) const;
  // The same of sums.
  void sum(const ort::Context& context, Sums sums, size_t step) const;

  Arithmetic arithmetic;
  std::optional<CastSpec> cast_a, cast_b, cast_y;
  bool rounded_a, rounded_b;  // see Factor
  uint64_t seed;
  uint32_t node;

 private:
  RandomKey key(const ort::Context& context, size_t step, int64_t count) const;
};

// "2x3", of a tensor's shape.
std::string shape_text(const std::vector<int64_t>& shape);

}  // namespace onnxbf

#include "ops/cast_attributes.h"

namespace onnxbf {
namespace {

// Indices of choices are the values of the enumerations in kernels.h.
CastSpec read_cast(const ort::Attributes& node) {
  CastSpec spec = read_format(node);
  spec.rounding = node.choice("rounding", {"rne", "rna", "rtz", "rup", "rdn", "rto", "sr"});
  spec.flush = node.choice("subnormals", {"keep", "flush"});
  spec.saturate = node.choice("overflow", {"infinity", "saturate"});
  spec.random_bits = static_cast<int32_t>(node.integer("random_bits", 32, 1, 32));
  if (const char* reason = problem(spec)) throw ort::Error(std::string(reason) + ".");
  return spec;
}

}  // namespace

CastSpec read_format(const ort::Attributes& node) {
  CastSpec spec{};
  spec.exponent_bits = static_cast<int32_t>(node.integer("exponent_bits", 8, 2, 8));
  spec.mantissa_bits = static_cast<int32_t>(node.integer("mantissa_bits", 7, 1, 23));
  spec.specials = node.choice("specials", {"ieee", "nan", "none"});
  return spec;
}

CastAttributes::CastAttributes(const ort::Attributes& attributes)
    : spec(read_cast(attributes)),
      seed(static_cast<uint64_t>(attributes.integer("seed", 0))),
      node(static_cast<uint32_t>(attributes.integer("node", 0, 0, ort::kWord))) {}

RandomPlace::RandomPlace(const CastAttributes& cast, const ort::Context& context)
    : key{cast.seed, cast.node, static_cast<uint32_t>(context.number(1, "step", ort::kWord))},
      offset(context.number(2, "offset", INT64_MAX)) {}

}  // namespace onnxbf

#include "ops/compute_attributes.h"

#include <stdexcept>

namespace onnxbf {
namespace {

Arithmetic read_arithmetic(const ort::KernelAttributes& node, const char* unnamed) {
  const std::string named = node.text("arithmetic");
  const std::string text = named.empty() && unnamed != nullptr ? unnamed : named;
  try {
    return parse_arithmetic(text);
  } catch (const std::invalid_argument& error) {
    throw ort::Error("attribute 'arithmetic' is '" + text + "': " + error.what());
  }
}

}  // namespace

std::optional<CastSpec> read_cast(const ort::KernelAttributes& node, const char* name) {
  const std::string text = node.text(name);
  if (text.empty()) return std::nullopt;
  try {
    return parse_cast(text);
  } catch (const std::invalid_argument& error) {
    throw ort::Error("attribute '" + std::string(name) + "' is '" + text + "': " + error.what());
  }
}

ComputeAttributes::ComputeAttributes(const ort::KernelAttributes& node, const char* unnamed)
    : arithmetic(read_arithmetic(node, unnamed)),
      cast_a(read_cast(node, "cast_a")),
      cast_b(read_cast(node, "cast_b")),
      cast_y(read_cast(node, "cast_y")),
      rounded_a(node.integer("rounded_a", 0, 0, 1) == 1),
      rounded_b(node.integer("rounded_b", 0, 0, 1) == 1),
      seed(static_cast<uint64_t>(node.integer("seed", 0))),
      node(static_cast<uint32_t>(node.integer("node", 0, 0, ort::kWord))) {}

void ComputeAttributes::multiply(const ort::Context& context, Product product, size_t step) const {
  const int64_t batch = static_cast<int64_t>(product.a.used.size());
  product.random = key(context, step, batch * product.rows * product.columns);
  product.a.cast = cast_a;
  product.b.cast = cast_b;
  product.a.rounded = rounded_a;
  product.b.rounded = rounded_b;
  product.result = cast_y;
  onnxbf::multiply(chosen_kernels(), arithmetic, product,
                   [&](int64_t count, const std::function<void(int64_t)>& body) {
                     context.parallel_tasks(count, body);
                   });
}

void ComputeAttributes::sum(const ort::Context& context, Sums sums, size_t step) const {
  const int64_t matrices = static_cast<int64_t>(sums.terms.matrices.size());
  sums.random = key(context, step, static_cast<int64_t>(sums.first) + matrices * sums.count);
  onnxbf::sum(chosen_kernels(), arithmetic, sums,
              [&](int64_t count, const std::function<void(int64_t)>& body) {
                context.parallel_tasks(count, body);
              });
}

// `count`: of sums.
RandomKey ComputeAttributes::key(const ort::Context& context, size_t step, int64_t count) const {
  if (arithmetic.stochastic() && count > ort::kWord) {
    throw ort::Error("a result of more than 2^32 elements cannot be summed stochastically.");
  }
  return {seed, node, static_cast<uint32_t>(context.number(step, "step", ort::kWord))};
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text;
  for (const int64_t size : shape) text += (text.empty() ? "" : "x") + std::to_string(size);
  return text.empty() ? "a scalar" : text;
}

}  // namespace onnxbf

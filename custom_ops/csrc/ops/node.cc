#include "ops/node.h"

#include <atomic>
#include <memory>

namespace onnxbf::ort {
namespace {

// Whether a call succeeded. An error status must be released, too, where the error is expected.
bool succeeded(const Api& api, Status* status) {
  if (status == nullptr) return true;
  api.ReleaseStatus(status);
  return false;
}

using Description = std::unique_ptr<TypeAndShape, void (*)(TypeAndShape*)>;

Description owned(const Api& api, TypeAndShape* description) {
  return {description, api.ReleaseTensorTypeAndShapeInfo};
}

std::vector<int64_t> dimensions(const Api& api, const TypeAndShape* description) {
  size_t rank = 0;
  check(api, api.GetDimensionsCount(description, &rank));
  std::vector<int64_t> shape(rank);
  check(api, api.GetDimensions(description, shape.data(), rank));
  return shape;
}

// A name that no other dimension has.
std::string fresh_name() {
  static std::atomic<uint64_t> count{0};
  return "ai.onnxbf.unknown." + std::to_string(count++);
}

Error wrong_type(const char* name, const char* expected) {
  return Error("attribute '" + std::string(name) + "' must be " + expected + ".");
}

}  // namespace

void check(const Api& api, Status* status) {
  if (status == nullptr) return;
  const std::string message = api.GetErrorMessage(status);
  api.ReleaseStatus(status);
  throw Error(message);
}

int64_t Attributes::integer(const char* name, int64_t fallback) const {
  return find_integer(name).value_or(fallback);
}

int64_t Attributes::integer(const char* name, int64_t fallback, int64_t low, int64_t high) const {
  const int64_t value = integer(name, fallback);
  if (value >= low && value <= high) return value;
  throw Error("attribute '" + std::string(name) + "' is " + std::to_string(value) +
              ", but must be from " + std::to_string(low) + " to " + std::to_string(high) + ".");
}

int32_t Attributes::choice(const char* name, std::initializer_list<const char*> choices) const {
  const std::string value = find_text(name).value_or(*choices.begin());
  const auto found = std::find(choices.begin(), choices.end(), value);
  if (found != choices.end()) return static_cast<int32_t>(found - choices.begin());
  std::string known;
  for (const char* choice : choices) known += (known.empty() ? "" : ", ") + std::string(choice);
  throw Error("attribute '" + std::string(name) + "' is '" + value + "', but must be one of " +
              known + ".");
}

std::string KernelAttributes::node_name() const {
  size_t size = 0;
  check(api_, api_.KernelInfo_GetNodeName(info_, nullptr, &size));
  std::string name(size, '\0');
  check(api_, api_.KernelInfo_GetNodeName(info_, name.data(), &size));
  return name.c_str();  // the size counts the zero at the end
}

// Reading an absent attribute fails as reading one of another type does. A list of integers can be
// read of any attribute that is there: of other types it is empty.
bool KernelAttributes::is_present(const char* name) const {
  size_t size = 0;
  return succeeded(api_, api_.KernelInfoGetAttributeArray_int64(info_, name, nullptr, &size));
}

float KernelAttributes::number(const char* name, float fallback) const {
  float value = fallback;
  if (succeeded(api_, api_.KernelInfoGetAttribute_float(info_, name, &value))) return value;
  if (is_present(name)) throw wrong_type(name, "a number with a decimal point");
  return fallback;
}

std::optional<int64_t> KernelAttributes::find_integer(const char* name) const {
  int64_t value = 0;
  if (succeeded(api_, api_.KernelInfoGetAttribute_int64(info_, name, &value))) return value;
  if (is_present(name)) throw wrong_type(name, "an integer");
  return std::nullopt;
}

std::vector<int64_t> KernelAttributes::integers(const char* name) const {
  size_t size = 0;
  if (!succeeded(api_, api_.KernelInfoGetAttributeArray_int64(info_, name, nullptr, &size))) {
    return {};
  }
  std::vector<int64_t> values(size);
  check(api_, api_.KernelInfoGetAttributeArray_int64(info_, name, values.data(), &size));
  return values;
}

std::optional<std::string> KernelAttributes::find_text(const char* name) const {
  size_t size = 0;
  if (!succeeded(api_, api_.KernelInfoGetAttribute_string(info_, name, nullptr, &size))) {
    if (is_present(name)) throw wrong_type(name, "a string");
    return std::nullopt;
  }
  std::string text(size, '\0');
  check(api_, api_.KernelInfoGetAttribute_string(info_, name, text.data(), &size));
  return text.c_str();  // the size counts the zero at the end
}

const Attribute* Inference::find(const char* name) const {
  const Attribute* attribute = nullptr;
  const bool found =
      succeeded(api_, api_.ShapeInferContext_GetAttribute(context_, name, &attribute));
  return found ? attribute : nullptr;
}

std::optional<int64_t> Inference::find_integer(const char* name) const {
  const Attribute* attribute = find(name);
  if (attribute == nullptr) return std::nullopt;
  int64_t value = 0;
  size_t size = 0;
  check(api_, api_.ReadOpAttr(attribute, kAttributeInt, &value, sizeof(value), &size));
  return value;
}

std::optional<std::string> Inference::find_text(const char* name) const {
  const Attribute* attribute = find(name);
  if (attribute == nullptr) return std::nullopt;
  size_t size = 0;
  succeeded(api_, api_.ReadOpAttr(attribute, kAttributeString, nullptr, 0, &size));
  std::string text(size, '\0');
  check(api_, api_.ReadOpAttr(attribute, kAttributeString, text.data(), size, &size));
  return text.c_str();  // the size counts a zero at the end, or does not: releases differ
}

size_t Inference::input_count() const {
  size_t count = 0;
  check(api_, api_.ShapeInferContext_GetInputCount(context_, &count));
  return count;
}

void Inference::output_like_input(ElementType type, size_t index, size_t output) const {
  TypeAndShape* input = nullptr;  // the context's own
  check(api_, api_.ShapeInferContext_GetInputTypeShape(context_, index, &input));
  const std::vector<int64_t> shape = dimensions(api_, input);
  // An input of unknown rank is told as one of rank 0. To call that output a scalar would mislead
  // all that follows, so of both nothing is said.
  if (shape.empty()) return;

  std::vector<const char*> symbols(shape.size());
  check(api_, api_.GetSymbolicDimensions(input, symbols.data(), symbols.size()));
  // An unknown dimension is told as -1 without a name, and as -1 would be taken literally: all such
  // dimensions would count as equal, and their tensors' memory as exchangeable.
  std::vector<std::string> names(shape.size());
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] >= 0 || *symbols[i] != '\0') continue;
    names[i] = fresh_name();
    symbols[i] = names[i].c_str();
  }
  set_output(output, type, shape, symbols);
}

void Inference::output_vector(size_t index, ElementType type, int64_t size) const {
  set_output(index, type, {size}, {""});
}

void Inference::set_output(size_t index, ElementType type, const std::vector<int64_t>& shape,
                           std::vector<const char*> symbols) const {
  TypeAndShape* created = nullptr;
  check(api_, api_.CreateTensorTypeAndShapeInfo(&created));
  const Description output = owned(api_, created);
  check(api_, api_.SetTensorElementType(output.get(), type));
  check(api_, api_.SetDimensions(output.get(), shape.data(), shape.size()));
  check(api_, api_.SetSymbolicDimensions(output.get(), symbols.data(), symbols.size()));
  check(api_, api_.ShapeInferContext_SetOutputTypeShape(context_, index, output.get()));
}

const Value* Context::find_input(size_t index) const {
  const Value* value = nullptr;  // stays so for an optional input that is absent
  check(api_, api_.KernelContext_GetInput(context_, index, &value));
  return value;
}

Tensor Context::describe(const Value* value) const {
  TypeAndShape* created = nullptr;
  check(api_, api_.GetTensorTypeAndShape(value, &created));
  const Description description = owned(api_, created);
  size_t count = 0;
  check(api_, api_.GetTensorShapeElementCount(created, &count));
  void* data = nullptr;  // read through, never written to: the ABI knows no const data
  check(api_, api_.GetTensorMutableData(const_cast<Value*>(value), &data));
  return {data, dimensions(api_, created), static_cast<int64_t>(count)};
}

size_t Context::input_count() const {
  size_t count = 0;
  check(api_, api_.KernelContext_GetInputCount(context_, &count));
  return count;
}

bool Context::has_input(size_t index) const {
  return index < input_count() && find_input(index) != nullptr;
}

Tensor Context::input(size_t index) const { return describe(find_input(index)); }

int64_t Context::number(size_t index, const char* name, int64_t high) const {
  const int64_t value = only_number(index, name);
  if (value >= 0 && value <= high) return value;
  throw Error("input '" + std::string(name) + "' is " + std::to_string(value) +
              ", but must be from 0 to " + std::to_string(high) + ".");
}

int64_t Context::only_number(size_t index, const char* name) const {
  const Value* value = find_input(index);
  if (value == nullptr) return 0;
  const Tensor tensor = describe(value);
  if (tensor.count == 1) return *static_cast<const int64_t*>(tensor.data);
  throw Error("input '" + std::string(name) + "' must hold one number, but holds " +
              std::to_string(tensor.count) + ".");
}

void* Context::output(size_t index, ElementType type, const std::vector<int64_t>& shape) const {
  void* data = optional_output(index, type, shape);
  if (data != nullptr || std::count(shape.begin(), shape.end(), 0) != 0) return data;
  throw Error("output " + std::to_string(index) + " is missing.");
}

void* Context::optional_output(size_t index, ElementType type,
                               const std::vector<int64_t>& shape) const {
  Value* value = nullptr;
  check(api_, api_.KernelContext_GetOutput(context_, index, shape.data(), shape.size(), &value));
  if (value == nullptr) return nullptr;
  TypeAndShape* created = nullptr;
  check(api_, api_.GetTensorTypeAndShape(value, &created));
  const Description description = owned(api_, created);
  ElementType declared = kUndefined;
  check(api_, api_.GetTensorElementType(created, &declared));
  // Where no type could be inferred, a model's own statement counts: and that may be wrong.
  if (declared != type) throw Error("the model states another type of output than attributes do.");
  void* data = nullptr;
  check(api_, api_.GetTensorMutableData(value, &data));
  return data;
}

}  // namespace onnxbf::ort

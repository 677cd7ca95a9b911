// What an operator sees of ONNX Runtime: attributes when it is made, types when shapes are inferred,
// tensors when it runs. Everything here may throw; custom_op.h turns that into a status.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "ort_abi.h"

namespace onnxbf::ort {

// A complaint, in one sentence, that reaches the user.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Throws what `status` complains of, and releases it.
void check(const Api& api, Status* status);

// A node's attributes. Each may be absent: then it has its default.
class Attributes {
 public:
  int64_t integer(const char* name, int64_t fallback) const;
  // Throws if the value lies outside of [low, high].
  int64_t integer(const char* name, int64_t fallback, int64_t low, int64_t high) const;
  // The index of the value among `choices`, the first of which is the default.
  int32_t choice(const char* name, std::initializer_list<const char*> choices) const;

 protected:
  ~Attributes() = default;

 private:
  // nullopt: absent. Throw where the attribute is of another type.
  virtual std::optional<int64_t> find_integer(const char* name) const = 0;
  virtual std::optional<std::string> find_text(const char* name) const = 0;
};

// The attributes of a node whose kernel is being made.
class KernelAttributes final : public Attributes {
 public:
  KernelAttributes(const Api& api, const KernelInfo* info) : api_(api), info_(info) {}
  std::string node_name() const;
  // A list of integers, empty where it is absent.
  std::vector<int64_t> integers(const char* name) const;
  float number(const char* name, float fallback) const;
  // The empty text where it is absent.
  std::string text(const char* name) const { return find_text(name).value_or(""); }

 private:
  std::optional<int64_t> find_integer(const char* name) const override;
  std::optional<std::string> find_text(const char* name) const override;
  bool is_present(const char* name) const;

  const Api& api_;
  const KernelInfo* info_;
};

// The attributes of a node whose types and shapes are being inferred, and its inputs' shapes.
class Inference final : public Attributes {
 public:
  Inference(const Api& api, const ShapeInferContext* context) : api_(api), context_(context) {}
  // The empty text where it is absent.
  std::string text(const char* name) const { return find_text(name).value_or(""); }
  size_t input_count() const;
  // Says that an output has elements of `type` and the shape of an input.
  void output_like_input(ElementType type, size_t input = 0, size_t output = 0) const;
  // Says that an output is a vector of `size` elements.
  void output_vector(size_t index, ElementType type, int64_t size) const;

 private:
  std::optional<int64_t> find_integer(const char* name) const override;
  std::optional<std::string> find_text(const char* name) const override;
  const Attribute* find(const char* name) const;
  // `symbols`: a name for each dimension, "" where it is a number.
  void set_output(size_t index, ElementType type, const std::vector<int64_t>& shape,
                  std::vector<const char*> symbols) const;

  const Api& api_;
  const ShapeInferContext* context_;
};

// The largest step, and the largest random stream that a node can name.
constexpr int64_t kWord = 0xFFFFFFFF;

struct Tensor {
  void* data;
  std::vector<int64_t> shape;
  int64_t count;
};

inline const float* numbers(const Tensor& tensor) { return static_cast<const float*>(tensor.data); }

// One run of a kernel.
class Context {
 public:
  Context(const Api& api, KernelContext* context) : api_(api), context_(context) {}

  size_t input_count() const;
  Tensor input(size_t index) const;
  bool has_input(size_t index) const;
  // The number that an optional int64 input holds, 0 where it is absent. Throws if the number is
  // negative or above `high`.
  int64_t number(size_t index, const char* name, int64_t high) const;
  // The memory of an output, which may be that of an input (see custom_op.h, kInPlace).
  void* output(size_t index, ElementType type, const std::vector<int64_t>& shape) const;
  // The same; nullptr where nobody wants it.
  void* optional_output(size_t index, ElementType type, const std::vector<int64_t>& shape) const;

  // Calls body(begin, end) for slices of [0, count) on ONNX Runtime's threads. It must not throw.
  template <class Body>
  void parallel(int64_t count, const Body& body) const;
  // The same for tasks that are each worth a thread: calls body(i) for each i of [0, count).
  template <class Body>
  void parallel_tasks(int64_t count, const Body& body) const;

 private:
  const Value* find_input(size_t index) const;
  Tensor describe(const Value* value) const;

  int64_t only_number(size_t index, const char* name) const;

  const Api& api_;
  KernelContext* context_;
};

template <class Body>
void Context::parallel(int64_t count, const Body& body) const {
  // Elements worth handing to another thread; a multiple of kTile, and of the 256 that random
  // words come in.
  constexpr int64_t kSlice = int64_t{1} << 15;
  if (count <= kSlice) {
    body(int64_t{0}, count);
    return;
  }
  struct Work {
    const Body& body;
    int64_t count;
  } work{body, count};
  const auto run = [](void* data, size_t index) {
    const Work& self = *static_cast<const Work*>(data);
    const int64_t begin = static_cast<int64_t>(index) * kSlice;
    self.body(begin, std::min(begin + kSlice, self.count));
  };
  const int64_t slices = (count + kSlice - 1) / kSlice;
  check(api_, api_.KernelContext_ParallelFor(context_, run, static_cast<size_t>(slices), 0, &work));
}

template <class Body>
void Context::parallel_tasks(int64_t count, const Body& body) const {
  const auto run = [](void* data, size_t index) {
    (*static_cast<const Body*>(data))(static_cast<int64_t>(index));
  };
  if (count == 0) return;
  check(api_, api_.KernelContext_ParallelFor(context_, run, static_cast<size_t>(count), 0,
                                             const_cast<Body*>(&body)));
}

}  // namespace onnxbf::ort

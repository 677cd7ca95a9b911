// Makes an operator of ONNX Runtime out of a small class:
//
//   class Example {
//    public:
//     static constexpr const char* kName = "Example";
//     static constexpr ort::Parameter kInputs[] = {{ort::kFloat}, {ort::kInt64, ort::kOptional}};
//     static constexpr ort::Parameter kOutputs[] = {{ort::kFloat}};
//     static constexpr bool kInPlace = true;  // the first output may lie where the first input does
//     static constexpr int32_t kInPlaceOutput = 1;  // if it is another output that may
//     static constexpr int32_t kInPlaceInput = 1;   // if it is where another input does
//     static void infer(const ort::Inference& node);       // tells types and shapes of the outputs
//     explicit Example(const ort::KernelAttributes& node); // once per node
//     void compute(const ort::Context& context) const;     // on every run, by many threads at once
//   };
#pragma once

#include <exception>
#include <iterator>
#include <memory>
#include <string>
#include <type_traits>

#include "ops/node.h"

namespace onnxbf::ort {

struct Parameter {
  ElementType type;
  Characteristic characteristic = kRequired;
};

// Runs `body`; what it throws becomes a status, since no exception may pass through C.
template <class Body>
Status* guarded(const Api& api, const Body& body) noexcept {
  try {
    body();
    return nullptr;
  } catch (const std::exception& error) {
    return api.CreateStatus(kInvalidArgument, error.what());
  } catch (...) {
    return api.CreateStatus(kFail, "an error of unknown kind");
  }
}

template <class Operator, class = void>
struct InPlaceOutput {
  static constexpr int32_t kIndex = 0;
};
template <class Operator>
struct InPlaceOutput<Operator, std::void_t<decltype(Operator::kInPlaceOutput)>> {
  static constexpr int32_t kIndex = Operator::kInPlaceOutput;
};

template <class Operator, class = void>
struct InPlaceInput {
  static constexpr int32_t kIndex = 0;
};
template <class Operator>
struct InPlaceInput<Operator, std::void_t<decltype(Operator::kInPlaceInput)>> {
  static constexpr int32_t kIndex = Operator::kInPlaceInput;
};

template <class Operator>
class OperatorOf : public CustomOp {
 public:
  explicit OperatorOf(const Api& api) : CustomOp{}, api_(api) {
    version = kApiVersion;
    GetName = [](const CustomOp*) { return Operator::kName; };
    GetExecutionProviderType = [](const CustomOp*) -> const char* { return nullptr; };
    GetInputType = [](const CustomOp*, size_t i) { return Operator::kInputs[i].type; };
    GetInputTypeCount = [](const CustomOp*) { return std::size(Operator::kInputs); };
    GetOutputType = [](const CustomOp*, size_t i) { return Operator::kOutputs[i].type; };
    GetOutputTypeCount = [](const CustomOp*) { return std::size(Operator::kOutputs); };
    KernelDestroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
    GetInputCharacteristic = [](const CustomOp*, size_t i) {
      return Operator::kInputs[i].characteristic;
    };
    GetOutputCharacteristic = [](const CustomOp*, size_t i) {
      return Operator::kOutputs[i].characteristic;
    };
    GetInputMemoryType = [](const CustomOp*, size_t) { return kMemoryDefault; };
    const auto one = [](const CustomOp*) -> int32_t { return 1; };
    GetVariadicInputMinArity = GetVariadicInputHomogeneity = one;
    GetVariadicOutputMinArity = GetVariadicOutputHomogeneity = one;
    CreateKernelV2 = create;
    KernelComputeV2 = compute;
    InferOutputShapeFn = infer;
    GetStartVersion = [](const CustomOp*) -> int32_t { return 1; };
    GetEndVersion = [](const CustomOp*) -> int32_t { return INT32_MAX; };
    if constexpr (Operator::kInPlace) GetMayInplace = in_place;
    ReleaseMayInplace = [](int32_t*, int32_t*) {};
  }

 private:
  struct Kernel {
    const Api& api;
    Operator op;
  };

  static Status* create(const CustomOp*, const Api* api, const KernelInfo* info, void** kernel) {
    return guarded(*api, [&] {
      const KernelAttributes node(*api, info);
      try {
        *kernel = new Kernel{*api, Operator(node)};
      } catch (const Error& error) {
        throw Error(std::string(Operator::kName) + " node '" + node.node_name() +
                    "': " + error.what());
      }
    });
  }

  static Status* compute(void* kernel, KernelContext* context) {
    const auto& [api, op] = *static_cast<const Kernel*>(kernel);
    return guarded(api, [&, &api = api, &op = op] { op.compute(Context(api, context)); });
  }

  // Whatever goes wrong here goes wrong again in `create`, which can say so: ONNX Runtime neither
  // reads nor releases the status of an inference.
  static Status* infer(const CustomOp* self, ShapeInferContext* context) {
    const Api& api = static_cast<const OperatorOf*>(self)->api_;
    Status* status = guarded(api, [&] { Operator::infer(Inference(api, context)); });
    if (status != nullptr) api.ReleaseStatus(status);
    return nullptr;
  }

  static size_t in_place(int32_t** inputs, int32_t** outputs) {
    static int32_t input = InPlaceInput<Operator>::kIndex;
    static int32_t output = InPlaceOutput<Operator>::kIndex;
    *inputs = &input;
    *outputs = &output;
    return 1;
  }

  const Api& api_;
};

}  // namespace onnxbf::ort

// The part of ONNX Runtime's C ABI that the operators use. No other file knows of it.
//
// Its wheels ship no headers, so the declarations are our own, of names and positions that ONNX
// Runtime keeps for good: tables only grow at their ends. One library so serves every release from
// 1.18 on.
#pragma once

#include <cstddef>
#include <cstdint>

namespace onnxbf::ort {

constexpr uint32_t kApiVersion = 18;  // of Api and CustomOp, up to their last members

struct Status;  // nullptr: success
struct Value;
struct KernelInfo;
struct KernelContext;
struct ShapeInferContext;
struct TypeAndShape;
struct Attribute;
struct SessionOptions;
struct CustomOpDomain;
struct CustomOp;

enum ErrorCode : int32_t { kFail = 1, kInvalidArgument = 2 };

enum ElementType : int32_t {
  kUndefined = 0,  // of a custom op's output: whatever shape inference says
  kFloat = 1,
  kInt64 = 7,
  kFloat16 = 10,
  kDouble = 11,
  kBfloat16 = 16,
  kFloat8E4M3FN = 17,
  kFloat8E5M2 = 19,
};

enum Characteristic : int32_t { kRequired = 0, kOptional = 1, kVariadic = 2 };

enum AttributeType : int32_t { kAttributeInt = 1, kAttributeString = 5 };

enum MemoryType : int32_t { kMemoryDefault = 0 };

// OrtApi: functions by position. `Unused<n>` stands for n that are not called here. Strings and
// arrays are read in two calls: with a null pointer to learn the size, then with room for it.
template <size_t count>
using Unused = void* [count];

struct Api {
  Status* (*CreateStatus)(ErrorCode, const char* message);
  Unused<1> unused_1;
  const char* (*GetErrorMessage)(const Status*);
  Unused<23> unused_3;
  Status* (*CreateCustomOpDomain)(const char* name, CustomOpDomain**);
  Status* (*CustomOpDomain_Add)(CustomOpDomain*, const CustomOp*);
  Status* (*AddCustomOpDomain)(SessionOptions*, CustomOpDomain*);
  Unused<22> unused_29;
  Status* (*GetTensorMutableData)(Value*, void**);
  Unused<5> unused_52;
  Status* (*CreateTensorTypeAndShapeInfo)(TypeAndShape**);
  Status* (*SetTensorElementType)(TypeAndShape*, ElementType);
  Status* (*SetDimensions)(TypeAndShape*, const int64_t*, size_t rank);
  Status* (*GetTensorElementType)(const TypeAndShape*, ElementType*);
  Status* (*GetDimensionsCount)(const TypeAndShape*, size_t* rank);
  Status* (*GetDimensions)(const TypeAndShape*, int64_t*, size_t rank);
  Status* (*GetSymbolicDimensions)(const TypeAndShape*, const char**, size_t rank);
  Status* (*GetTensorShapeElementCount)(const TypeAndShape*, size_t*);
  Status* (*GetTensorTypeAndShape)(const Value*, TypeAndShape**);
  Unused<19> unused_66;
  Status* (*KernelInfoGetAttribute_float)(const KernelInfo*, const char* name, float*);
  Status* (*KernelInfoGetAttribute_int64)(const KernelInfo*, const char* name, int64_t*);
  Status* (*KernelInfoGetAttribute_string)(const KernelInfo*, const char* name, char*, size_t*);
  Status* (*KernelContext_GetInputCount)(const KernelContext*, size_t*);
  Unused<1> unused_89;
  Status* (*KernelContext_GetInput)(const KernelContext*, size_t index, const Value**);
  Status* (*KernelContext_GetOutput)(KernelContext*, size_t index, const int64_t* dimensions,
                                     size_t rank, Value**);
  Unused<1> unused_92;
  void (*ReleaseStatus)(Status*);
  Unused<5> unused_94;
  void (*ReleaseTensorTypeAndShapeInfo)(TypeAndShape*);
  Unused<1> unused_100;
  void (*ReleaseCustomOpDomain)(CustomOpDomain*);
  Unused<61> unused_102;
  Status* (*KernelInfoGetAttributeArray_int64)(const KernelInfo*, const char* name, int64_t*,
                                               size_t*);
  Unused<80> unused_164;
  Status* (*KernelInfo_GetNodeName)(const KernelInfo*, char*, size_t*);
  Unused<22> unused_245;
  Status* (*ShapeInferContext_GetInputCount)(const ShapeInferContext*, size_t*);
  Status* (*ShapeInferContext_GetInputTypeShape)(const ShapeInferContext*, size_t index,
                                                 TypeAndShape**);  // owned by the context
  Status* (*ShapeInferContext_GetAttribute)(const ShapeInferContext*, const char* name,
                                            const Attribute**);
  Status* (*ShapeInferContext_SetOutputTypeShape)(const ShapeInferContext*, size_t index,
                                                  const TypeAndShape*);
  Status* (*SetSymbolicDimensions)(TypeAndShape*, const char**, size_t rank);
  Status* (*ReadOpAttr)(const Attribute*, AttributeType, void*, size_t bytes, size_t* needed);
  Unused<1> unused_273;
  Status* (*KernelContext_ParallelFor)(const KernelContext*, void (*body)(void* data, size_t index),
                                       size_t count, size_t batches, void* data);
};

constexpr size_t position(size_t offset) { return offset / sizeof(void*); }
static_assert(position(offsetof(Api, GetErrorMessage)) == 2);
static_assert(position(offsetof(Api, AddCustomOpDomain)) == 28);
static_assert(position(offsetof(Api, GetTensorMutableData)) == 51);
static_assert(position(offsetof(Api, GetTensorTypeAndShape)) == 65);
static_assert(position(offsetof(Api, KernelInfoGetAttribute_float)) == 85);
static_assert(position(offsetof(Api, KernelInfoGetAttribute_string)) == 87);
static_assert(position(offsetof(Api, KernelContext_GetOutput)) == 91);
static_assert(position(offsetof(Api, ReleaseStatus)) == 93);
static_assert(position(offsetof(Api, ReleaseTensorTypeAndShapeInfo)) == 99);
static_assert(position(offsetof(Api, ReleaseCustomOpDomain)) == 101);
static_assert(position(offsetof(Api, KernelInfoGetAttributeArray_int64)) == 163);
static_assert(position(offsetof(Api, KernelInfo_GetNodeName)) == 244);
static_assert(position(offsetof(Api, ShapeInferContext_GetInputCount)) == 267);
static_assert(position(offsetof(Api, ShapeInferContext_SetOutputTypeShape)) == 270);
static_assert(position(offsetof(Api, KernelContext_ParallelFor)) == 274);

struct ApiBase {
  const Api* (*GetApi)(uint32_t version);  // nullptr: this release is older
  const char* (*GetVersionString)();
};

// OrtCustomOp: an operator, as ONNX Runtime asks about it. It must outlive all sessions.
struct CustomOp {
  uint32_t version;
  void* (*CreateKernel)(const CustomOp*, const Api*, const KernelInfo*);
  const char* (*GetName)(const CustomOp*);
  const char* (*GetExecutionProviderType)(const CustomOp*);  // nullptr: CPU
  ElementType (*GetInputType)(const CustomOp*, size_t index);
  size_t (*GetInputTypeCount)(const CustomOp*);
  ElementType (*GetOutputType)(const CustomOp*, size_t index);
  size_t (*GetOutputTypeCount)(const CustomOp*);
  void (*KernelCompute)(void* kernel, KernelContext*);
  void (*KernelDestroy)(void* kernel);
  Characteristic (*GetInputCharacteristic)(const CustomOp*, size_t index);
  Characteristic (*GetOutputCharacteristic)(const CustomOp*, size_t index);
  MemoryType (*GetInputMemoryType)(const CustomOp*, size_t index);
  int32_t (*GetVariadicInputMinArity)(const CustomOp*);
  int32_t (*GetVariadicInputHomogeneity)(const CustomOp*);
  int32_t (*GetVariadicOutputMinArity)(const CustomOp*);
  int32_t (*GetVariadicOutputHomogeneity)(const CustomOp*);
  Status* (*CreateKernelV2)(const CustomOp*, const Api*, const KernelInfo*, void** kernel);
  Status* (*KernelComputeV2)(void* kernel, KernelContext*);
  Status* (*InferOutputShapeFn)(const CustomOp*, ShapeInferContext*);
  int32_t (*GetStartVersion)(const CustomOp*);
  int32_t (*GetEndVersion)(const CustomOp*);
  // Pairs of input and output that may share memory: their number, and arrays of their indices.
  size_t (*GetMayInplace)(int32_t** inputs, int32_t** outputs);
  void (*ReleaseMayInplace)(int32_t* inputs, int32_t* outputs);
  size_t (*GetAliasMap)(int32_t** inputs, int32_t** outputs);
  void (*ReleaseAliasMap)(int32_t* inputs, int32_t* outputs);
};
static_assert(sizeof(CustomOp) == 26 * sizeof(void*));

}  // namespace onnxbf::ort

// The formats that ONNX has a tensor type for, one row each.
#pragma once

#include "kernels.h"
#include "ort_abi.h"

namespace onnxbf {

struct StoredFormat {
  ort::ElementType type;
  int32_t exponent_bits;
  int32_t mantissa_bits;
  int32_t specials;
};

constexpr StoredFormat kBfloat16{ort::kBfloat16, 8, 7, kIeee};
constexpr StoredFormat kFloat16{ort::kFloat16, 5, 10, kIeee};
constexpr StoredFormat kFloat8E4M3FN{ort::kFloat8E4M3FN, 4, 3, kNan};
constexpr StoredFormat kFloat8E5M2{ort::kFloat8E5M2, 5, 2, kIeee};

constexpr StoredFormat kStoredFormats[] = {kBfloat16, kFloat16, kFloat8E4M3FN, kFloat8E5M2};

}  // namespace onnxbf

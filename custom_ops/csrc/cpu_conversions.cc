// Conversions and dot products by the CPU's own instructions, where it has them. The kernels do not use
// them (their roundings and their treatment of subnormal numbers are fixed): the self-test holds the
// kernels to them.
#include <string>

#include "c_api.h"

#if defined(__x86_64__) && __has_include(<avx512bf16intrin.h>)
#include "cpu_x86-inl.h"
#elif defined(__aarch64__) && defined(__linux__) && __has_include(<arm_bf16.h>) && \
    (!defined(__clang__) || __clang_major__ >= 16)
#include "cpu_arm-inl.h"
#else
#include "cpu_judges.h"
namespace onnxbf {
namespace {
Conversion find_conversion(const CastSpec&) { return nullptr; }
Dots find_dots(const std::string&) { return nullptr; }
}  // namespace
}  // namespace onnxbf
#endif

int32_t onnxbf_cpu_codes(const onnxbf::CastSpec* spec, const float* in, uint16_t* codes,
                         int64_t count) {
  const onnxbf::Conversion convert = onnxbf::find_conversion(*spec);
  if (convert == nullptr) return 0;
  convert(*spec, in, codes, count);
  return 1;
}

int32_t onnxbf_cpu_dots(const char* arithmetic, const uint16_t* a, const uint16_t* b, float* out,
                        int64_t count, int64_t pairs) {
  const onnxbf::Dots dots = onnxbf::find_dots(arithmetic);
  if (dots == nullptr) return 0;
  dots(a, b, out, count, pairs);
  return 1;
}

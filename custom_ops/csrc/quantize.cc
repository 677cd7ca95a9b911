// The functions of kernels.h, on the kernels of an instruction set.
#include <algorithm>

#include "instruction_sets.h"

namespace onnxbf {
namespace {

// Elements above which the cache holds neither input nor output of a tensor. Measured: on a CPU
// with 32 MiB of cache, stores past it cost a third more at 2 million elements and save a fourth at
// 4 million.
constexpr int64_t kPastCache = int64_t{4} << 20;

bool goes_past_cache(const float* in, const float* out, int64_t tensor_size) {
  return in != out && tensor_size >= kPastCache && reinterpret_cast<uintptr_t>(out) % 16 == 0;
}

template <class Code>
void quantize_as(const Kernels& kernels, const CastSpec& spec, const RandomKey& key,
                 void (*encode)(const Plan&, const float*, Code*, int64_t), const float* in,
                 Code* codes, int64_t begin, int64_t end) {
  const Plan plan = make_plan(spec);
  const RoundFunction round = kernels.round[round_kernel(spec)];
  alignas(64) float rounded[kTile];  // in the cache, on the way to codes
  for (int64_t i = begin, stop; i < end; i = stop) {
    stop = std::min((i / kTile + 1) * kTile, end);
    round(plan, key, in + (i - begin), rounded, i, stop, false);
    encode(plan, rounded, codes + (i - begin), stop - i);
  }
}

}  // namespace

RoundKernel round_kernel(const CastSpec& spec) {
  const bool wide = spec.exponent_bits == 8;
  if (wide && spec.mantissa_bits == 7 && spec.rounding == kNearestEven) return round_bf16_rne;
  return static_cast<RoundKernel>((wide ? round_wide_rne : round_narrow_rne) + spec.rounding);
}
static_assert(round_wide_sr - round_wide_rne == kStochastic, "kernels.inc follows enum Rounding");
static_assert(round_narrow_sr - round_narrow_rne == kStochastic, "as above");

void quantize_dequantize(const Kernels& kernels, const CastSpec& spec, const RandomKey& key,
                         const float* in, float* out, int64_t begin, int64_t end,
                         int64_t tensor_size) {
  const int64_t size = tensor_size != 0 ? tensor_size : end - begin;
  kernels.round[round_kernel(spec)](make_plan(spec), key, in, out, begin, end,
                                    goes_past_cache(in, out, size));
}

void quantize(const Kernels& kernels, const CastSpec& spec, const RandomKey& key, const float* in,
              void* codes, int64_t begin, int64_t end) {
  if (code_size(spec) == 1) {
    quantize_as(kernels, spec, key, kernels.encode_u8, in, static_cast<uint8_t*>(codes), begin,
                end);
  } else {
    quantize_as(kernels, spec, key, kernels.encode_u16, in, static_cast<uint16_t*>(codes), begin,
                end);
  }
}

void dequantize(const Kernels& kernels, const CastSpec& spec, const void* codes, float* out,
                int64_t count) {
  const Plan plan = make_plan(spec);
  if (code_size(spec) == 1) {
    kernels.decode_u8(plan, static_cast<const uint8_t*>(codes), out, count);
  } else {
    kernels.decode_u16(plan, static_cast<const uint16_t*>(codes), out, count);
  }
}

void quantize_dequantize(const CastSpec& spec, const RandomKey& key, const float* in, float* out,
                         int64_t begin, int64_t end, int64_t tensor_size) {
  quantize_dequantize(chosen_kernels(), spec, key, in, out, begin, end, tensor_size);
}

void quantize(const CastSpec& spec, const RandomKey& key, const float* in, void* codes,
              int64_t begin, int64_t end) {
  quantize(chosen_kernels(), spec, key, in, codes, begin, end);
}

void dequantize(const CastSpec& spec, const void* codes, float* out, int64_t count) {
  dequantize(chosen_kernels(), spec, codes, out, count);
}

}  // namespace onnxbf

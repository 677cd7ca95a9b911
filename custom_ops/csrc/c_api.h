// The kernels for callers of C: what custom_ops/library.py declares again in ctypes.
#pragma once

#include <cstdint>

#include "instruction_sets.h"
#include "scaled.h"

#define ONNXBF_EXPORT extern "C" __attribute__((visibility("default")))

// Grows by one whenever a declaration below or the random words change: tells an old library from a
// new one.
constexpr int32_t kInterface = 25;
ONNXBF_EXPORT int32_t onnxbf_interface();

// The index-th instruction set of this CPU, best last, and the name of the index-th kernel; nullptr
// beyond the last.
ONNXBF_EXPORT const char* onnxbf_instruction_set_name(int32_t index);
ONNXBF_EXPORT const char* onnxbf_kernel_name(int32_t index);

// The instruction set in use; the name of the kernel that rounds as `spec` says.
ONNXBF_EXPORT const char* onnxbf_instruction_set();
ONNXBF_EXPORT const char* onnxbf_round_kernel(const onnxbf::CastSpec* spec);

// Why `spec` is no cast, or cannot be stored; nullptr where all is well.
ONNXBF_EXPORT const char* onnxbf_problem(const onnxbf::CastSpec* spec);
ONNXBF_EXPORT const char* onnxbf_storage_problem(const onnxbf::CastSpec* spec);

// The kernels of an instruction set; nullptr for one that this CPU lacks.
ONNXBF_EXPORT const onnxbf::Kernels* onnxbf_find_kernels(const char* instruction_set);

// See kernels.h. `threads`: how many to use at most.
ONNXBF_EXPORT void onnxbf_quantize_dequantize(const onnxbf::Kernels* kernels,
                                              const onnxbf::CastSpec* spec,
                                              const onnxbf::RandomKey* key, const float* in,
                                              float* out, int64_t begin, int64_t end,
                                              int32_t threads);
ONNXBF_EXPORT void onnxbf_quantize(const onnxbf::Kernels* kernels, const onnxbf::CastSpec* spec,
                                   const onnxbf::RandomKey* key, const float* in, void* codes,
                                   int64_t begin, int64_t end, int32_t threads);
ONNXBF_EXPORT void onnxbf_dequantize(const onnxbf::Kernels* kernels, const onnxbf::CastSpec* spec,
                                     const void* codes, float* out, int64_t count,
                                     int32_t threads);

// The same for observe_rounding and observe_update; `fields` take what add_up gives.
ONNXBF_EXPORT void onnxbf_observe_rounding(const onnxbf::Kernels* kernels,
                                           const onnxbf::CastSpec* spec,
                                           const onnxbf::RandomKey* key, const float* in,
                                           float* out, int64_t begin, int64_t end, int32_t threads,
                                           double* fields);
ONNXBF_EXPORT void onnxbf_observe_update(const onnxbf::Kernels* kernels,
                                         const onnxbf::CastSpec* spec, const float* update,
                                         const float* before, const float* after, int64_t count,
                                         int32_t threads, double* fields);

// Why `arithmetic` names no profile; nullptr where it does. Valid until the thread asks again.
ONNXBF_EXPORT const char* onnxbf_arithmetic_problem(const char* arithmetic);

// The product of a (rows x inner) and b (inner x columns), row by row, under a profile without a
// problem. `key`: of sums that are rounded stochastically, fewer than 2^32.
ONNXBF_EXPORT void onnxbf_matmul(const onnxbf::Kernels* kernels, const char* arithmetic,
                                 const float* a, const float* b, float* out, int64_t rows,
                                 int64_t inner, int64_t columns, const onnxbf::RandomKey* key,
                                 int32_t threads);

// Sums of outer x inner x after numbers along `inner`, under a profile without a problem.
ONNXBF_EXPORT void onnxbf_sum(const onnxbf::Kernels* kernels, const char* arithmetic,
                              const float* x, float* out, int64_t outer, int64_t inner,
                              int64_t after, const onnxbf::RandomKey* key, int32_t threads);

// e^x, rounded once.
ONNXBF_EXPORT void onnxbf_exponentials(const onnxbf::Kernels* kernels, const float* x, float* out,
                                       int64_t count, int32_t threads);

// Why `text` is no program (elementwise.h); nullptr where it is one. Valid until the thread asks again.
ONNXBF_EXPORT const char* onnxbf_program_problem(const char* text);

// Runs a program without a problem on one group of tensors of `count` elements; `periods`: see
// elementwise.h.
ONNXBF_EXPORT void onnxbf_elementwise(const onnxbf::Kernels* kernels, const char* program,
                                      const float* const* inputs, const int64_t* periods,
                                      const float* const* shared, float* const* outputs,
                                      int64_t count, int32_t threads);

// Quantizes over ranges (range.h) as a spec without a problem says.
ONNXBF_EXPORT void onnxbf_quantize_range(const onnxbf::Kernels* kernels,
                                         const onnxbf::RangeSpec* spec,
                                         const onnxbf::RandomKey* key, const float* in, float* out,
                                         int64_t rows, int64_t columns, int32_t threads);

// Quantizes to blocks (block.h) as a spec without a problem says.
ONNXBF_EXPORT void onnxbf_quantize_blocks(const onnxbf::Kernels* kernels,
                                          const onnxbf::BlockSpec* spec,
                                          const onnxbf::RandomKey* key, const float* in, float* out,
                                          int64_t outer, int64_t length, int64_t inner,
                                          int32_t threads);

// Rounds scaled numbers (scaled.h) as a spec without a problem says.
ONNXBF_EXPORT void onnxbf_quantize_scaled(const onnxbf::Kernels* kernels,
                                          const onnxbf::ScaledSpec* spec,
                                          const onnxbf::RandomKey* key, const float* in, float* out,
                                          int64_t count, const float* state, float* next,
                                          int32_t threads);

// The random words of the elements [begin, end).
ONNXBF_EXPORT void onnxbf_random_words(const onnxbf::Kernels* kernels,
                                       const onnxbf::RandomKey* key, uint32_t* words,
                                       int64_t begin, int64_t end);

// The CPU's own conversion for a cast to bfloat16 or float16, and `count` dot products of `pairs` pairs
// of bfloat16 codes, from +0 on, by the instruction that `arithmetic` names: judges of the kernels.
// `a` and `b` hold 2 * pairs codes for each. `count`: a multiple of 16. They return 0, doing nothing,
// where the CPU has no such instruction.
ONNXBF_EXPORT int32_t onnxbf_cpu_codes(const onnxbf::CastSpec* spec, const float* in,
                                       uint16_t* codes, int64_t count);
ONNXBF_EXPORT int32_t onnxbf_cpu_dots(const char* arithmetic, const uint16_t* a, const uint16_t* b,
                                      float* out, int64_t count, int64_t pairs);

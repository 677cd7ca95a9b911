// Four lanes, NEON.
#include <arm_neon.h>

#include <cstdint>

#define ONNXBF_INSTRUCTION_SET neon

namespace onnxbf::neon {
namespace {

using Word = uint32_t __attribute__((vector_size(16)));
using Wide = uint64_t __attribute__((vector_size(16)));
using Doubles = double __attribute__((vector_size(16)));
constexpr int kChains = 4;

inline Word smaller_of(Word a, Word b) { return (Word)vminq_s32((int32x4_t)a, (int32x4_t)b); }
inline Word larger_of(Word a, Word b) { return (Word)vmaxq_s32((int32x4_t)a, (int32x4_t)b); }

inline Wide multiply_low(Wide a, Wide b) {
  return (Wide)vmull_u32(vmovn_u64((uint64x2_t)a), vmovn_u64((uint64x2_t)b));
}

inline Wide upper_half(Wide a) { return a >> 32; }

inline Wide interleave(Wide a, Wide b) { return (a & 0xFFFFFFFF) | b << 32; }

inline Doubles widen_low(Word words) {
  return (Doubles)vcvt_f64_f32(vget_low_f32((float32x4_t)words));
}
inline Doubles widen_high(Word words) { return (Doubles)vcvt_high_f64_f32((float32x4_t)words); }

inline void store_past_cache(void* to, Word words) { __builtin_memcpy(to, &words, sizeof words); }

inline void finish_stores() {}

}  // namespace
}  // namespace onnxbf::neon

#include "kernels-inl.h"

// Four lanes, NEON.
#include <arm_neon.h>

#include <cstdint>

#include "exact.h"

#define ONNXBF_INSTRUCTION_SET neon

namespace onnxbf::neon {
namespace {

using Word = uint32_t __attribute__((vector_size(16)));
using Wide = uint64_t __attribute__((vector_size(16)));
constexpr int kChains = 4;

inline Word smaller_of(Word a, Word b) { return (Word)vminq_s32((int32x4_t)a, (int32x4_t)b); }
inline Word larger_of(Word a, Word b) { return (Word)vmaxq_s32((int32x4_t)a, (int32x4_t)b); }

inline uint32_t largest_lane(Word a) {
  return static_cast<uint32_t>(vmaxvq_s32((int32x4_t)a));
}

inline Wide multiply_low(Wide a, Wide b) {
  return (Wide)vmull_u32(vmovn_u64((uint64x2_t)a), vmovn_u64((uint64x2_t)b));
}

inline Wide upper_half(Wide a) { return a >> 32; }

inline Wide interleave(Wide a, Wide b) { return (a & 0xFFFFFFFF) | b << 32; }

inline void store_past_cache(void* to, Word words) { __builtin_memcpy(to, &words, sizeof words); }

inline void finish_stores() {}

using Float = float __attribute__((vector_size(16)));
constexpr int64_t kRows = 6;
constexpr int64_t kVectors = 4;

// Flushing here cannot be left to the CPU: Arm judges what is tiny before rounding.
inline Float multiply_add(Float a, Float b, Float c, bool flush) {
  Float sum = (Float)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
  if (!flush) return sum;
  const uint32x4_t small = vcaleq_f32((float32x4_t)sum, vdupq_n_f32(0x1p-126f));
  if (vmaxvq_u32(small) == 0) return sum;
  for (int i = 0; i < 4; ++i) sum[i] = multiply_add_to_nearest(a[i], b[i], c[i], true);
  return sum;
}

inline Float square_root(Float a) { return (Float)vsqrtq_f32((float32x4_t)a); }

inline bool any_differs(Word a, Word b) {
  return vmaxvq_u32(veorq_u32((uint32x4_t)a, (uint32x4_t)b)) != 0;
}

inline bool any_is_zero(Word a) { return vminvq_u32((uint32x4_t)a) == 0; }

// Whether the lower 16 bits of some lane are zero.
template <int64_t kCount>
inline bool some_lower_half_is_zero(const Word (&words)[kCount]) {
  Word least = words[0] & 0xFFFF;
  for (Word word : words) least = smaller_of(least, word & 0xFFFF);
  return vminvq_u32((uint32x4_t)least) == 0;
}

}  // namespace
}  // namespace onnxbf::neon

#include "kernels-inl.h"

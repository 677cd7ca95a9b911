// One number at a time: what every CPU can do, and the one to read.
#include <cstdint>

#include "exact.h"

#define ONNXBF_INSTRUCTION_SET scalar
#define ONNXBF_ONE_LANE

namespace onnxbf::scalar {
namespace {

using Word = uint32_t;
using Wide = uint64_t;
constexpr int kChains = 2;

inline Word smaller_of(Word a, Word b) { return (int32_t)a < (int32_t)b ? a : b; }
inline Word larger_of(Word a, Word b) { return (int32_t)a > (int32_t)b ? a : b; }

inline uint32_t largest_lane(Word a) { return a; }

inline Wide multiply_low(Wide a, Wide b) {
  return static_cast<uint64_t>(static_cast<uint32_t>(a)) * static_cast<uint32_t>(b);
}

inline Wide upper_half(Wide a) { return a >> 32; }

inline Wide interleave(Wide a, Wide b) { return (a & 0xFFFFFFFF) | b << 32; }

inline void store_past_cache(void* to, Word word) { __builtin_memcpy(to, &word, sizeof word); }

inline void finish_stores() {}

using Float = float;
constexpr int64_t kRows = 4;
constexpr int64_t kVectors = 4;

inline Float multiply_add(Float a, Float b, Float c, bool flush) {
  return multiply_add_to_nearest(a, b, c, flush);
}

inline Float square_root(Float a) { return __builtin_sqrtf(a); }

inline bool any_differs(Word a, Word b) { return a != b; }
inline bool any_is_zero(Word a) { return a == 0; }

// Whether the lower 16 bits of some word are zero.
template <int64_t kCount>
inline bool some_lower_half_is_zero(const Word (&words)[kCount]) {
  for (Word word : words) {
    if ((word & 0xFFFF) == 0) return true;
  }
  return false;
}

}  // namespace
}  // namespace onnxbf::scalar

#include "kernels-inl.h"

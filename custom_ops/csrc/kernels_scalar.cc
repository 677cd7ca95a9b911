// One number at a time: what every CPU can do, and the one to read.
#include <cstdint>

#define ONNXBF_INSTRUCTION_SET scalar
#define ONNXBF_ONE_LANE

namespace onnxbf::scalar {
namespace {

using Word = uint32_t;
using Wide = uint64_t;
using Doubles = double;
constexpr int kChains = 2;

inline Word smaller_of(Word a, Word b) { return (int32_t)a < (int32_t)b ? a : b; }
inline Word larger_of(Word a, Word b) { return (int32_t)a > (int32_t)b ? a : b; }

inline Wide multiply_low(Wide a, Wide b) {
  return static_cast<uint64_t>(static_cast<uint32_t>(a)) * static_cast<uint32_t>(b);
}

inline Wide upper_half(Wide a) { return a >> 32; }

inline Wide interleave(Wide a, Wide b) { return (a & 0xFFFFFFFF) | b << 32; }

inline Doubles widen_low(Word word) {
  float number;
  __builtin_memcpy(&number, &word, sizeof number);
  return number;
}
inline Doubles widen_high(Word) { return 0; }  // not called: one lane has no halves

inline void store_past_cache(void* to, Word word) { __builtin_memcpy(to, &word, sizeof word); }

inline void finish_stores() {}

}  // namespace
}  // namespace onnxbf::scalar

#include "kernels-inl.h"

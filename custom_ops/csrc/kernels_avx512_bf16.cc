// VDPBF16PS for the profile that it defines, on CPUs with AVX512_BF16. All else is AVX-512's.
//
// What it does stands in vdpbf16ps.h; onnxbf/dot.py says the same of every pair.
#include <immintrin.h>

#define ONNXBF_PAIRS avx512_bf16

namespace onnxbf::ONNXBF_PAIRS {
namespace {

inline __m512bh as_pairs(__m512i words) {
  __m512bh pairs;
  __builtin_memcpy(&pairs, &words, sizeof pairs);
  return pairs;
}

inline __m512 add_pair(__m512 sums, __m512i a, __m512i b) {
  return _mm512_dpbf16_ps(sums, as_pairs(a), as_pairs(b));
}

}  // namespace
}  // namespace onnxbf::ONNXBF_PAIRS

#include "pairs-inl.h"

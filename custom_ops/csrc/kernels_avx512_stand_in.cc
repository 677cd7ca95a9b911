// The same kernel as kernels_avx512_bf16.cc, with a function in the place of VDPBF16PS: so that all around the
// instruction can be tested on CPUs that lack it. Slow, and used where it is asked for by name alone.
#include <immintrin.h>

#include "vdpbf16ps.h"

#define ONNXBF_PAIRS avx512_stand_in

namespace onnxbf::ONNXBF_PAIRS {
namespace {

inline __m512 add_pair(__m512 sums, __m512i a, __m512i b) {
  constexpr int64_t kVector = 16;
  float numbers[kVector];
  uint32_t left[kVector], right[kVector];
  _mm512_storeu_ps(numbers, sums);
  _mm512_storeu_si512(left, a);
  _mm512_storeu_si512(right, b);
  for (int64_t i = 0; i < kVector; ++i) numbers[i] = vdpbf16ps(numbers[i], left[i], right[i]);
  return _mm512_loadu_ps(numbers);
}

}  // namespace
}  // namespace onnxbf::ONNXBF_PAIRS

#include "pairs-inl.h"

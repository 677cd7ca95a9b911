// Rows of numbers, brought side by side.
#pragma once

#include <cstdint>

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace onnxbf {

// Of four rows, the `count` numbers from the first on: those at `k` to `places[k]` and the three behind it.
inline void turn_four(const float* const (&rows)[4], int64_t count, const int64_t* places,
                      float* to) {
  int64_t k = 0;
#if defined(__SSE2__)
  for (; k + 4 <= count; k += 4) {
    __m128 block[4];
    for (int64_t i = 0; i < 4; ++i) block[i] = _mm_loadu_ps(rows[i] + k);
    _MM_TRANSPOSE4_PS(block[0], block[1], block[2], block[3]);
    for (int64_t i = 0; i < 4; ++i) _mm_storeu_ps(to + places[k + i], block[i]);
  }
#endif
  for (; k < count; ++k) {
    for (int64_t i = 0; i < 4; ++i) to[places[k] + i] = rows[i][k];
  }
}

// Columns become lines: number k of line i goes to to[places[k] + i].
inline void turn_lines(const float* from, int64_t lines, int64_t length, int64_t stride,
                       const int64_t* places, float* to) {
  int64_t i = 0;
  for (; i + 4 <= lines; i += 4) {
    const float* line = from + i * stride;
    turn_four({line, line + stride, line + 2 * stride, line + 3 * stride}, length, places, to + i);
  }
  for (; i < lines; ++i) {
    for (int64_t k = 0; k < length; ++k) to[places[k] + i] = from[i * stride + k];
  }
}

}  // namespace onnxbf

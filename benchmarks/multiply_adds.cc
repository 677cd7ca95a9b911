// How fast a core multiplies and adds vectors of 16 float32 numbers: bench_gemm.py compiles and loads it.
#include <immintrin.h>

#include <chrono>

extern "C" __attribute__((target("avx512f"))) double multiply_adds_per_second() {
  constexpr int kRepeats = 4096, kChains = 16, kTrials = 200;  // more chains than an addition takes cycles
  __m512 numbers = _mm512_setzero_ps();
  __asm__ volatile("" : "+v"(numbers));
  __m512 sums[kChains] = {};
  double best = 0;
  for (int trial = 0; trial < kTrials; ++trial) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < kRepeats; ++i) {
#pragma GCC unroll 16
      for (__m512& sum : sums) {
        sum = _mm512_fmadd_ps(numbers, numbers, sum);
        __asm__ volatile("" : "+v"(sum));
      }
    }
    const double taken = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (best < kRepeats * kChains / taken) best = kRepeats * kChains / taken;
  }
  return best;
}

#include "bfloat16_instruction.h"

#if defined(ONNXBF_AVX512_BF16_KERNELS)
#include <immintrin.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <limits>

#define ONNXBF_BFLOAT16 __attribute__((target("avx512f,avx512vl,avx512bf16")))

namespace onnxbf {
namespace {

constexpr int kRepeats = 256, kTrials = 15;
constexpr int kChains = 12;  // more than the latency of either times what is issued in a cycle

// A value for the optimizer to know nothing of, kept in a register.
template <typename Vector>
inline __attribute__((always_inline, target("avx512f"))) void hide(Vector& value) {
  __asm__ volatile("" : "+v"(value));
}

// Executes the instruction, and returns 0 if it adds as it should: 1 + 1 * 1 + 1 * 1.
ONNXBF_BFLOAT16 int try_bfloat16() {
  __m512 sums = _mm512_set1_ps(1.0f);
  __m512i ones = _mm512_set1_epi32(0x3F803F80);
  hide(sums);
  hide(ones);
  __m512bh pairs;
  __builtin_memcpy(&pairs, &ones, sizeof pairs);
  sums = _mm512_dpbf16_ps(sums, pairs, pairs);
  hide(sums);
  return _mm512_cvtss_f32(sums) == 3.0f ? 0 : 1;
}

bool executes_in_child() {
  const pid_t child = fork();
  if (child == 0) {  // here, only what a signal handler may do
    const rlimit no_core{0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    signal(SIGILL, SIG_DFL);  // whatever the process does about it otherwise
    _exit(try_bfloat16());
  }
  int status = 0;
  return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) &&
         WEXITSTATUS(status) == 0;
}

ONNXBF_BFLOAT16 void add_by_instruction() {
  __m512i words = _mm512_setzero_si512();
  hide(words);
  __m512bh pairs;
  __builtin_memcpy(&pairs, &words, sizeof pairs);
  __m512 sums[kChains] = {};
  for (int i = 0; i < kRepeats; ++i) {
#pragma GCC unroll 12
    for (__m512& sum : sums) {
      sum = _mm512_dpbf16_ps(sum, pairs, pairs);
      hide(sum);
    }
  }
}

__attribute__((target("avx512f"))) void add_by_multiply_adds() {
  __m512 numbers = _mm512_setzero_ps();
  hide(numbers);
  __m512 sums[kChains] = {};
  for (int i = 0; i < 2 * kRepeats; ++i) {
#pragma GCC unroll 12
    for (__m512& sum : sums) {
      sum = _mm512_fmadd_ps(numbers, numbers, sum);
      hide(sum);
    }
  }
}

template <typename Work>
double seconds(Work work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

bool measures_faster() {
  double instruction = std::numeric_limits<double>::max(), multiply_adds = instruction;
  for (int trial = 0; trial < kTrials; ++trial) {  // in turn, so that what disturbs disturbs both
    instruction = std::min(instruction, seconds(add_by_instruction));
    multiply_adds = std::min(multiply_adds, seconds(add_by_multiply_adds));
  }
  return instruction < multiply_adds;
}

}  // namespace

bool announces_bfloat16() {
  return __builtin_cpu_supports("avx512bf16") != 0 && __builtin_cpu_supports("avx512vl") != 0;
}

bool executes_bfloat16() {
  // Its operands are AVX-512's: without them it cannot be tried.
  static const bool executes = announces_bfloat16() || (__builtin_cpu_supports("avx512bw") != 0 &&
                                                        __builtin_cpu_supports("avx512vl") != 0 &&
                                                        executes_in_child());
  return executes;
}

bool bfloat16_is_faster() {
  static const bool faster = measures_faster();
  return faster;
}

}  // namespace onnxbf

#else

namespace onnxbf {
bool announces_bfloat16() { return false; }
bool executes_bfloat16() { return false; }
bool bfloat16_is_faster() { return false; }
}  // namespace onnxbf

#endif

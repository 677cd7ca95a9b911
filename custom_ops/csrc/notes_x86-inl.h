// What the CPU notes of its computing in MXCSR: kernels_<set>.cc of x86 include this in the place that
// lanes-inl.h names.
#pragma once

#include <xmmintrin.h>

#define ONNXBF_NOTES_SUBNORMALS

namespace onnxbf::ONNXBF_INSTRUCTION_SET {
namespace {

constexpr uint32_t kNotes = 0x3F;
// An operand was subnormal (and is not taken as zero), a result beyond the numbers, inexact below the normal
// ones, or none.
constexpr uint32_t kBeyondNormal = 0x1B;

inline void clear_notes() {
  _mm_setcsr(_mm_getcsr() & ~kNotes);
  __asm__ volatile("" ::: "memory");
}

// Since then, until `results` were written.
inline bool left_normal_numbers(const float* results) {
  __asm__ volatile("" ::"r"(results) : "memory");
  return (_mm_getcsr() & kBeyondNormal) != 0;
}

}  // namespace
}  // namespace onnxbf::ONNXBF_INSTRUCTION_SET

// The CPU's floating-point control register, set for as long as an object lives: what a caller left
// there (another rounding, flushing of subnormals) changes no result.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace onnxbf {

class FloatEnvironment {
 public:
  // Whether subnormal numbers are read as zeros where the CPU flushes; else kernels are given none.
#if defined(__x86_64__)
  static constexpr bool kReadsZeros = true;
#else
  static constexpr bool kReadsZeros = false;
#endif

  // Rounds to nearest even. `flush` (x86): subnormals are zero, read or written; elsewhere kernels
  // flush by themselves.
  explicit FloatEnvironment(bool flush) : before_(get()), now_(before_) { change(flush); }
  // The same from now on. What the CPU does is not read again: reading it waits for all that was begun, and took
  // a tenth of the time of a product whose tiles had it read twice.
  void change(bool flush) {
#if defined(__x86_64__)
    enter(flush ? 0x9FC0 : 0x1F80);  // MXCSR: all exceptions masked; flush to zero, denormals are zero
#else
    (void)flush;
    enter(0);  // FPCR
#endif
  }
#if defined(__aarch64__)
  explicit FloatEnvironment(uint64_t control) : before_(get()), now_(before_) { enter(control); }  // FPCR
  static uint64_t get() {
    uint64_t value;
    __asm__ volatile("mrs %0, fpcr" : "=r"(value));
    return value;
  }
#endif
  ~FloatEnvironment() { enter(before_); }
  FloatEnvironment(const FloatEnvironment&) = delete;
  FloatEnvironment& operator=(const FloatEnvironment&) = delete;

 private:
#if defined(__x86_64__)
  using Register = uint32_t;
  static constexpr Register kFlags = 0x3F;  // which say what happened, and change no result
  static Register get() { return _mm_getcsr(); }
  static void set(Register value) { _mm_setcsr(value); }
#elif defined(__aarch64__)
  using Register = uint64_t;
  static constexpr Register kFlags = 0;
  static void set(Register value) { __asm__ volatile("msr fpcr, %0" ::"r"(value) : "memory"); }
#else
  using Register = uint32_t;
  static constexpr Register kFlags = 0;
  static Register get() { return 0; }
  static void set(Register) {}
#endif

  void enter(Register wanted) {
    if (((now_ ^ wanted) & ~kFlags) == 0) return;
    set(wanted);
    now_ = wanted;
  }

  Register before_, now_;
};

}  // namespace onnxbf

#include "amx.h"

#if defined(ONNXBF_AMX_KERNELS) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace onnxbf {
namespace {

bool announces_amx() {
  constexpr uint32_t kBfloat16 = 1u << 22, kTile = 1u << 24;
  uint32_t a, b, c, d;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & kBfloat16) != 0 && (d & kTile) != 0;
}

// Whether the operating system keeps tiles when it changes from thread to thread.
bool state_is_enabled() {
  constexpr uint32_t kXgetbv = 1u << 27, kTileState = 3u << 17;
  uint32_t a, b, c, d;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & kXgetbv) == 0) return false;
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & kTileState) == kTileState;
}

// Linux wants to be asked, because what it keeps of a process grows by 8 KiB.
bool is_allowed() {
  constexpr int64_t kAsk = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kAsk, kTileData) == 0;
}

}  // namespace

bool has_amx() {
  static const bool has = announces_amx() && state_is_enabled() && is_allowed();
  return has;
}

}  // namespace onnxbf

#else

namespace onnxbf {
bool has_amx() { return false; }
}  // namespace onnxbf

#endif

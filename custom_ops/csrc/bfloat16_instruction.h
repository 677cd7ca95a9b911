// Whether VDPBF16PS can be had here, and whether it is worth using.
//
// Hypervisors hide instructions from what a CPU says of itself (CPUID) that it goes on executing. Such
// an instruction is good for judging, and for whoever asks for it by name, but it is not chosen: the
// machine may move to a CPU without it at any time.
#pragma once

namespace onnxbf {

bool announces_bfloat16();

// Announced, or executed by a child process that tries. Tried once.
bool executes_bfloat16();

// Whether it adds a pair sooner than two multiply-adds do, which give the same bits. It does on Zen 4;
// Intel's cores issue it every other cycle, and two multiply-adds every cycle. Measured once, where
// executes_bfloat16(): some microseconds.
bool bfloat16_is_faster();

}  // namespace onnxbf

// See panels.h.
#pragma once

#include "lanes-inl.h"
#include "panels.h"

namespace onnxbf::ONNXBF_INSTRUCTION_SET {
namespace {

// Copies whole vectors where there is room for them: what a run writes too much, the next one writes again.
inline void copy_run(const float* from, int64_t length, int64_t room, float* to) {
  constexpr int64_t kFour = 4;
  int64_t i = 0;
  for (; i < length && i + kLanes <= room; i += kLanes) store(to + i, load<Word>(from + i));
  for (; i + kFour <= length; i += kFour) __builtin_memcpy(to + i, from + i, kFour * sizeof(float));
  for (; i < length; ++i) to[i] = from[i];
}

void gather(const PanelRuns& runs, const float* image, const int64_t* inner, int64_t rows,
            const int64_t* places, float* to) {
  for (int64_t k = 0; k < rows; ++k) {
    const float* from = image + inner[k];
    float* row = to + places[k];
    for (int64_t i = 0; i < runs.count; ++i) {
      const PanelRuns::Run& run = runs.runs[i];
      copy_run(from + run.offset, run.length, runs.columns - run.column, row + run.column);
    }
  }
}

}  // namespace
}  // namespace onnxbf::ONNXBF_INSTRUCTION_SET

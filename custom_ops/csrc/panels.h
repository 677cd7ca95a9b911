// Filling panels of numbers that stand in runs: loops of each instruction set.
#pragma once

#include <cstdint>

namespace onnxbf {

constexpr int64_t kWidest = 32;         // columns of a panel
constexpr int64_t kLongestVector = 16;  // numbers that may be read behind the last of an image

// Columns of a panel in runs, each of which is side by side in memory.
struct PanelRuns {
  struct Run {
    int64_t column, offset, length;
  };

  int64_t columns, count;
  Run runs[kWidest];
};

// Row k of a panel, which begins at to + places[k], is what stands at image + inner[k] and the offsets.
using GatherFunction = void (*)(const PanelRuns& runs, const float* image, const int64_t* inner,
                                int64_t rows, const int64_t* places, float* to);

}  // namespace onnxbf

#include "direct.h"

#include <algorithm>

namespace onnxbf {
namespace {

// The first lane at [begin, end) that does not stand beside the one before.
int64_t run_end(const int64_t* outer, int64_t begin, int64_t end) {
  int64_t i = begin + 1;
  while (i < end && outer[i] == outer[i - 1] + 1) ++i;
  return std::min(i, end);
}

}  // namespace

DirectColumns find_columns(const int64_t* outer, int64_t count, int64_t lanes, int64_t vectors) {
  DirectColumns found{true, false, {}};
  for (int64_t v = 0; v < vectors; ++v) {
    DirectVector& vector = found.vectors[v];
    const int64_t rest = std::clamp<int64_t>(count - v * lanes, 0, lanes);
    vector.split = lanes;
    if (rest == 0) continue;
    const int64_t* places = outer + v * lanes;
    vector.first = places[0];
    const int64_t split = run_end(places, 0, rest);
    if (split == rest) continue;
    vector.split = split;
    vector.second = places[split] - split;
    found.splits = true;
    found.fits = found.fits && vector.second >= 0 && run_end(places, split, rest) == rest;
  }
  return found;
}

}  // namespace onnxbf

#include "scaled.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <vector>

#include "float_bits.h"
#include "float_environment.h"
#include "instruction_sets.h"

namespace onnxbf {
namespace {

constexpr int64_t kPiece = int64_t{1} << 15;  // elements of a task
static_assert(kPiece % kTile == 0, "tiles begin where tasks do");
constexpr int64_t kSecond = 2;                // operands: the second is one number for all

// Calls body(begin, end) for pieces of [0, count).
template <class Body>
void each_piece(int64_t count, const Tasks& tasks, const Body& body) {
  tasks((count + kPiece - 1) / kPiece, [&](int64_t task) {
    const FloatEnvironment environment(false);
    body(task * kPiece, std::min(count, (task + 1) * kPiece));
  });
}

// The largest magnitude; NaN where a number is NaN.
float largest(const Kernels& kernels, const float* x, int64_t count, const Tasks& tasks) {
  std::vector<uint32_t> found(static_cast<size_t>((count + kPiece - 1) / kPiece));
  each_piece(count, tasks, [&](int64_t begin, int64_t end) {
    found[static_cast<size_t>(begin / kPiece)] = kernels.blocks.largest(x + begin, end - begin);
  });
  uint32_t magnitude = 0;
  for (uint32_t each : found) magnitude = std::max(magnitude, each);
  return float_of(magnitude > kInfinity ? kQuietNan : magnitude);
}

// The factor for a largest magnitude; `otherwise` where that is 0 or not finite.
float scale_of(const ScaledSpec& spec, float magnitude, float otherwise) {
  if (!std::isfinite(magnitude) || magnitude == 0) return otherwise;
  const float wanted = std::ldexp(float_of(make_plan(spec.cast).max), -spec.margin);
  const float scale = std::clamp(wanted / magnitude, FLT_MIN, FLT_MAX);
  return spec.power_of_two == 0 ? scale : std::ldexp(1.0f, std::ilogb(scale));
}

void set_next(const ScaledSpec& spec, float magnitude, const float* state, float* next) {
  const float* last = state + spec.history;
  next[1] = magnitude;
  std::copy(state + 1, last, next + 2);
  float decides = 0;
  for (int64_t i = 1; i <= spec.history; ++i) decides = std::fmax(decides, next[i]);
  next[0] = scale_of(spec, spec.most_recent != 0 ? magnitude : decides, state[0]);
}

void round_scaled(const Kernels& kernels, const ScaledSpec& spec, const RandomKey& key,
                  const float* in, float* out, int64_t count, float scale, const Tasks& tasks,
                  RoundingTile* tiles) {
  const Plan plan = make_plan(spec.cast);
  const RoundKernel kernel = round_kernel(spec.cast);
  const auto& steps = kernels.steps.functions;
  const StepFunction multiply = steps[static_cast<int32_t>(Operation::Mul)][kSecond];
  const StepFunction divide = steps[static_cast<int32_t>(Operation::Div)][kSecond];
  each_piece(count, tasks, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin, stop; i < end; i = stop) {
      stop = std::min(i + kTile, end);  // in the cache from step to step
      multiply({1, stop - i, in + i, 0, &scale, 0, out + i, 0});
      if (tiles == nullptr) {
        kernels.round[kernel](plan, key, out + i, out + i, i, stop, false);
      } else {
        kernels.measure_rounding[kernel](plan, key, out + i, out + i, i, stop,
                                         tiles + i / kTile);
      }
      divide({1, stop - i, out + i, 0, &scale, 0, out + i, 0});
    }
  });
}

}  // namespace

const char* problem(const ScaledSpec& spec) {
  if (spec.cast.exponent_bits > 5) return "exponent_bits must be 2 to 5";
  if (spec.cast.saturate == 0) return "a scaled cast saturates";
  if (spec.history < 0) return "history must be 0 or more";
  if (spec.margin < 0 || spec.margin > 15) return "margin must be 0 to 15";
  return problem(spec.cast);
}

void quantize_scaled(const Kernels& kernels, const ScaledSpec& spec, const RandomKey& key,
                     const float* in, float* out, int64_t count, const float* state, float* next,
                     const Tasks& tasks, RoundingTile* tiles) {
  const FloatEnvironment environment(false);
  float scale = spec.history != 0 ? state[0] : 1;
  if (spec.history == 0 || next != nullptr) {
    const float magnitude = largest(kernels, in, count, tasks);
    if (spec.history == 0) {
      scale = scale_of(spec, magnitude, 1);
    } else {
      set_next(spec, magnitude, state, next);
    }
  }
  round_scaled(kernels, spec, key, in, out, count, scale, tasks, tiles);
}

}  // namespace onnxbf

#include "epilogue.h"

#include <algorithm>

#include "float_environment.h"
#include "instruction_sets.h"

namespace onnxbf {
namespace {

constexpr int64_t kSome = Epilogue::kWidestPart;  // numbers that go through all steps before the next ones do
static_assert(kSome >= kWidest, "a line is taken whole");

// Where a tensor that repeats after `period` numbers has what belongs to a line of a part.
int64_t place_of(int64_t period, int64_t columns, const Epilogue::Part& part, int64_t line) {
  const int64_t place = (part.line + line) * columns + part.column;
  return place < period ? place : place % period;  // most do not repeat, and divisions take long
}

// Runs a program on some lines of a part after the other.
class LineRunner {
 public:
  LineRunner(const Kernels& kernels, const Program& program,
             const std::vector<Epilogue::Other>& others, int64_t columns,
             const Epilogue::Part& part, float* numbers)
      : kernels_(kernels),
        program_(program),
        others_(others),
        columns_(columns),
        part_(part),
        numbers_(numbers),
        together_(std::min(kSome / part.width, part.lines)) {
    for (size_t i = 0; i < others.size(); ++i) {
      if (others[i].period == 1) continue;
      if (part.columns < part.width) std::fill_n(taken_[i], together_ * part.width, 0.0f);
      if (others[i].period == columns) take(i, 0, together_);
    }
  }

  void run() {
    for (int64_t first = 0; first < part_.lines; first += together_) {
      const int64_t lines = std::min(together_, part_.lines - first);
      for (size_t i = 0; i < others_.size(); ++i) {
        if (others_[i].period > columns_) take(i, first, lines);
      }
      float* results = numbers_ + first * part_.width;
      for (const Instruction& step : program_.steps) {
        run_step(kernels_, step, source(step.a, results), source(step.b, results),
                 target(step.result, results), lines * part_.width);
      }
    }
  }

 private:
  // Lays lines of what is read out as those of the results lie.
  void take(size_t index, int64_t first, int64_t lines) {
    const auto& [numbers, period] = others_[index];
    const int64_t stride = period > columns_ ? columns_ : 0;
    for (int64_t i = 0, count; i < lines; i += count) {
      const int64_t place = place_of(period, columns_, part_, first + i);
      const int64_t left = (period - place + part_.column) / columns_;  // lines, before it repeats
      count = stride == 0 ? lines : std::min(lines - i, left);
      kernels_.tiles.copy_lines(numbers + place, stride, count, part_.columns,
                                taken_[index] + i * part_.width, part_.width);
    }
  }

  Source source(Place place, const float* results) const {
    const auto index = static_cast<size_t>(place.index);
    if (place.kind == Place::kTemporary) return {temporaries_[index], false};
    if (place.kind != Place::kInput || index == 0) return {results, false};
    const Epilogue::Other& other = others_[index - 1];
    if (other.period == 1) return {other.numbers, true};
    return {taken_[index - 1], false};
  }

  float* target(Place place, float* results) {
    return place.kind == Place::kTemporary ? temporaries_[place.index] : results;
  }

  const Kernels& kernels_;
  const Program& program_;
  const std::vector<Epilogue::Other>& others_;
  int64_t columns_;
  const Epilogue::Part& part_;
  float* numbers_;
  int64_t together_;  // lines
  alignas(64) float taken_[Epilogue::kMostOthers][kSome];
  alignas(64) float temporaries_[kMostTemporaries][kSome];
};

}  // namespace

void Epilogue::ask_ahead(const Part& part, Ahead& ahead) const {
  for (const auto& [numbers, period] : others_) {
    if (period <= columns_) continue;
    const int64_t place = place_of(period, columns_, part, 0);
    const int64_t left = (period - place + part.column) / columns_;  // lines, before it repeats
    ahead.add(numbers + place, columns_, std::min(left, part.lines));
  }
}

void Epilogue::run(const Part& part, float* results) const {
  const FloatEnvironment nearest(false);
  LineRunner(kernels_, program_, others_, columns_, part, results).run();
}

void Epilogue::run_all(const Product& product, const ParallelFor& parallel) const {
  constexpr int64_t kSlice = int64_t{1} << 15;  // worth a thread
  static_assert(kSlice % kTile == 0, "programs begin at whole tiles");
  const auto batch = static_cast<int64_t>(product.a.used.size());
  const int64_t count = batch * product.rows * product.columns;
  std::vector<Group> groups{{{product.out}, {count}, {product.out}, count}};
  for (const Other& other : others_) {
    groups[0].inputs.push_back(other.numbers);
    groups[0].periods.push_back(other.period);
  }
  parallel((count + kSlice - 1) / kSlice, [&](int64_t i) {
    const int64_t end = std::min((i + 1) * kSlice, count);
    run_program(kernels_, program_, groups, {}, i * kSlice, end);
  });
}

}  // namespace onnxbf

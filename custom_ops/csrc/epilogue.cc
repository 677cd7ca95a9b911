#include "epilogue.h"

#include <algorithm>

#include "instruction_sets.h"

namespace onnxbf {
namespace {

constexpr int64_t kSome = 1536;  // numbers that go through all steps before the next ones do
static_assert(kSome >= Epilogue::kWidestPart && kSome >= kWidest, "a line is taken whole");

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
             const Epilogue::Part& part, float* results, const Target& out)
      : kernels_(kernels),
        program_(program),
        others_(others),
        columns_(columns),
        part_(part),
        results_(results),
        out_(out) {}

  void run() {
    for (int64_t first = 0, lines; first < part_.lines; first += lines) {
      lines = std::min(kSome / part_.width, part_.lines - first);
      for (const Epilogue::Other& other : others_) lines = std::min(lines, lines_of(other, first));
      for (const Instruction& step : program_.steps) {
        const Target to = target(step.result, first);
        run_step(kernels_, step, source(step.a, first), source(step.b, first),
                 {to.numbers, to.stride, lines, part_.columns});
      }
    }
  }

 private:
  // Before it repeats, from a line of the part on.
  int64_t lines_of(const Epilogue::Other& other, int64_t line) const {
    if (other.period <= columns_) return part_.lines;
    const int64_t place = place_of(other.period, columns_, part_, line);
    return (other.period - place + part_.column) / columns_;
  }

  Source source(Place place, int64_t line) const {
    const auto index = static_cast<size_t>(place.index);
    if (place.kind == Place::kInput && index > 0) {
      const auto& [numbers, period] = others_[index - 1];
      if (period == 1) return {numbers, true};
      return {numbers + place_of(period, columns_, part_, line), false,
              period > columns_ ? columns_ : 0};
    }
    if (place.kind == Place::kInput) return {results_ + line * part_.width, false, part_.width};
    if (place.kind == Place::kTemporary) return {temporaries_[index], false, part_.width};
    return {out_.numbers + line * out_.stride, false, out_.stride};
  }

  Target target(Place place, int64_t line) {
    const bool is_temporary = place.kind == Place::kTemporary;
    if (is_temporary) return {temporaries_[place.index], part_.width, 0, 0};
    return {out_.numbers + line * out_.stride, out_.stride, 0, 0};
  }

  const Kernels& kernels_;
  const Program& program_;
  const std::vector<Epilogue::Other>& others_;
  int64_t columns_;
  const Epilogue::Part& part_;
  float* results_;
  Target out_;
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

void Epilogue::run(const Part& part, float* results, float* out, int64_t out_stride) const {
  const Target to{out, out_stride, part.lines, part.columns};
  LineRunner(kernels_, program_, others_, columns_, part, results, to).run();
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

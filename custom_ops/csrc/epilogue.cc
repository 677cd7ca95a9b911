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

// From a line of a part on, how many there are before what is read with them repeats.
int64_t lines_left(const Epilogue::Other& other, int64_t columns, const Epilogue::Part& part,
                   int64_t line) {
  if (other.period <= columns) return part.lines - line;
  const int64_t place = place_of(other.period, columns, part, line);
  return std::min((other.period - place + part.column) / columns, part.lines - line);
}

// Runs a program on some lines of a part after the other.
class LineRunner {
 public:
  LineRunner(const Kernels& kernels, const Program& program,
             const std::vector<Epilogue::Other>& others, int64_t columns,
             const Epilogue::Part& part, float* results, float* out, int64_t out_stride)
      : kernels_(kernels),
        program_(program),
        others_(others),
        columns_(columns),
        part_(part),
        results_(results),
        out_(out),
        out_stride_(out_stride) {}

  void run() {
    for (int64_t first = 0, lines; first < part_.lines; first += lines) {
      lines = std::min(kSome / part_.width, part_.lines - first);
      for (const Epilogue::Other& other : others_) {
        lines = std::min(lines, lines_left(other, columns_, part_, first));
      }
      for (const Instruction& step : program_.steps) {
        run_step(kernels_, step, source(step.a, first), source(step.b, first),
                 target(step.result, first, lines));
      }
    }
  }

 private:
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
    return {out_ + line * out_stride_, false, out_stride_};
  }

  Target target(Place place, int64_t line, int64_t lines) {
    const bool is_temporary = place.kind == Place::kTemporary;
    if (is_temporary) return {temporaries_[place.index], part_.width, lines, part_.columns};
    return {out_ + line * out_stride_, out_stride_, lines, part_.columns};
  }

  const Kernels& kernels_;
  const Program& program_;
  const std::vector<Epilogue::Other>& others_;
  int64_t columns_;
  const Epilogue::Part& part_;
  float *results_, *out_;
  int64_t out_stride_;
  alignas(64) float temporaries_[kMostTemporaries][kSome];
};

}  // namespace

void Epilogue::ask_ahead(const Part& part, Ahead& ahead) const {
  for (const Other& other : others_) {
    if (other.period <= columns_) continue;
    ahead.add(other.numbers + place_of(other.period, columns_, part, 0), columns_,
              lines_left(other, columns_, part, 0));
  }
}

void Epilogue::run(const Part& part, float* results, float* out, int64_t out_stride) const {
  LineRunner(kernels_, program_, others_, columns_, part, results, out, out_stride).run();
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

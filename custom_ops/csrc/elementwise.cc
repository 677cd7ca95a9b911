// Reading and running programs of elementwise operations.
#include "elementwise.h"

#include <algorithm>
#include <cstring>
#include <sstream>
#include <stdexcept>

#include "arithmetic.h"
#include "float_environment.h"
#include "instruction_sets.h"

namespace onnxbf {
namespace {

struct Row {
  const char* name;
  int32_t operands;
};
constexpr Row kRows[] = {
#define ONNXBF_STEP(name, operands) {#name, operands},
#include "elementwise.inc"
};

// Elements that a program is run on at a time: what its steps read and write stays in the L1 cache.
// Where roundings are observed, that is a tile.
constexpr int64_t kRun = 256;
constexpr int32_t kMostPlaces = 1 << 16;

// Reads one program; knows what was written so far.
class Reader {
 public:
  Program read(const std::string& text) {
    std::istringstream steps(text);
    for (std::string step; std::getline(steps, step, ';');) add(step);
    if (program_.outputs == 0) throw std::invalid_argument("the program has no output");
    if (std::find(outputs_.begin(), outputs_.end(), false) != outputs_.end()) {
      throw std::invalid_argument("the program leaves out an output below its last");
    }
    return program_;
  }

 private:
  void add(const std::string& text) {
    std::istringstream words(text);
    std::string name, result, operand;
    words >> name >> result;
    Instruction step{{}, {}, {}, {Place::kNone, 0}, {Place::kNone, 0}};
    int32_t wanted = 1;
    if (name.find(':') != std::string::npos) {
      const CastSpec spec = parse_cast(name);
      step.cast = Cast{program_.casts++, round_kernel(spec), make_plan(spec)};
    } else {
      step.operation = operation_of(name);
      wanted = kRows[static_cast<int32_t>(step.operation)].operands;
    }
    int32_t found = 0;
    for (; words >> operand; ++found) {
      if (found < wanted) (found == 0 ? step.a : step.b) = operand_of(operand);
    }
    if (found != wanted) {
      throw std::invalid_argument("step '" + text + "' has " + std::to_string(found) +
                                  " operands, but " + name + " takes " + std::to_string(wanted));
    }
    step.result = result_of(result);
    program_.steps.push_back(step);
  }

  static Operation operation_of(const std::string& name) {
    for (int32_t i = 0; i < kOperations; ++i) {
      if (name == kRows[i].name) return static_cast<Operation>(i);
    }
    throw std::invalid_argument("the program has a step '" + name + "', which is unknown");
  }

  static Place place_of(const std::string& text) {
    const size_t kind = std::string("xsty").find(text.empty() ? '?' : text[0]);
    const bool digits = text.size() > 1 && text.size() < 7 &&
                        text.find_first_not_of("0123456789", 1) == std::string::npos;
    const int32_t index = digits ? std::stoi(text.substr(1)) : kMostPlaces;
    if (kind == std::string::npos || index >= kMostPlaces) {
      throw std::invalid_argument("the program names '" + text +
                                  "', which is no x, s, t or y with a number");
    }
    return {static_cast<Place::Kind>(kind), index};
  }

  Place operand_of(const std::string& text) {
    const Place place = place_of(text);
    if (place.kind == Place::kInput && place.index == 0 && has(outputs_, 0)) {
      program_.reads_overwritten = true;
    }
    if (place.kind == Place::kInput) program_.inputs = std::max(program_.inputs, place.index + 1);
    if (place.kind == Place::kShared) program_.shared = std::max(program_.shared, place.index + 1);
    if ((place.kind == Place::kTemporary && !has(temporaries_, place.index)) ||
        (place.kind == Place::kOutput && !has(outputs_, place.index))) {
      throw std::invalid_argument("the program reads '" + text + "' before it is written");
    }
    return place;
  }

  Place result_of(const std::string& text) {
    const Place place = place_of(text);
    if (place.kind == Place::kTemporary) {
      if (place.index >= kMostTemporaries) {
        throw std::invalid_argument("the program has more than 16 temporaries");
      }
      mark(temporaries_, place.index);
      program_.temporaries = std::max(program_.temporaries, place.index + 1);
      return place;
    }
    if (place.kind != Place::kOutput || has(outputs_, place.index)) {
      throw std::invalid_argument("the program writes '" + text +
                                  "', which is no temporary and no output yet to be written");
    }
    mark(outputs_, place.index);
    program_.outputs = std::max(program_.outputs, place.index + 1);
    return place;
  }

  static bool has(const std::vector<bool>& written, int32_t index) {
    return index < static_cast<int32_t>(written.size()) && written[static_cast<size_t>(index)];
  }

  static void mark(std::vector<bool>& written, int32_t index) {
    if (index >= static_cast<int32_t>(written.size())) written.resize(static_cast<size_t>(index) + 1);
    written[static_cast<size_t>(index)] = true;
  }

  Program program_;
  std::vector<bool> temporaries_, outputs_;
};

// What a cast reads: `out`, where one number stands for all.
const float* side_by_side(Source from, float* out, int64_t count) {
  if (!from.single) return from.numbers;
  std::fill_n(out, count, *from.numbers);
  return out;
}

// Runs a program on slices of one group.
class Runner {
 public:
  // `tiles`: of the program's first step that rounds, those of the next ones `stride` further on.
  Runner(const Kernels& kernels, const Program& program, const std::vector<const float*>& shared,
         RoundingTile* tiles, int64_t stride)
      : kernels_(kernels), program_(program), shared_(shared), tiles_(tiles), stride_(stride) {}

  // `tile`: the place of the group's first one.
  void run(const Group& group, int64_t tile, int64_t begin, int64_t end) {
    const int64_t most = tiles_ == nullptr ? kRun : kTile;
    for (int64_t i = begin; i < end; i += most) {
      const int64_t count = std::min(most, end - i);
      prefetch(group, i, count);
      copy_inputs(group, i, count);
      tile_ = tile + i / kTile;
      for (const Instruction& step : program_.steps) apply(step, group, i, count);
    }
  }

 private:
  void apply(const Instruction& step, const Group& group, int64_t begin, int64_t count) {
    const Source a = source(step.a, group, begin), b = source(step.b, group, begin);
    float* out = target(step.result, group, begin);
    if (!step.cast || tiles_ == nullptr) return run_step(kernels_, step, a, b, {out, 0, 1, count});
    const Cast& cast = *step.cast;
    kernels_.measure_rounding[cast.kernel](cast.plan, RandomKey{}, side_by_side(a, out, count), out,
                                           0, count, tiles_ + cast.index * stride_ + tile_);
  }

  // Asks for what is read and written a page later, as lanes-inl.h does, and for the same reason.
  static void prefetch(const Group& group, int64_t begin, int64_t count) {
    constexpr int64_t kPage = 4096 / sizeof(float), kLine = 64 / sizeof(float);
    const int64_t first = begin + kPage, last = std::min(first + count, group.count);
    for (size_t i = 0; i < group.inputs.size(); ++i) {
      if (group.periods[i] != group.count) continue;
      for (int64_t k = first; k < last; k += kLine) __builtin_prefetch(group.inputs[i] + k);
    }
    for (const float* output : group.outputs) {
      for (int64_t k = first; k < last; k += kLine) __builtin_prefetch(output + k, 1);
    }
  }

  // Lays the rows that inputs consist of end to end, from element `begin` on; keeps what is read after
  // it is overwritten.
  void copy_inputs(const Group& group, int64_t begin, int64_t count) {
    for (size_t i = 0; i < group.inputs.size(); ++i) {
      if (!is_copied(group, i)) continue;
      copies_.resize(group.inputs.size() * kTile);
      float* to = copies_.data() + i * kTile;
      int64_t place = begin % group.periods[i];
      for (int64_t done = 0, part; done < count; done += part, place = 0) {
        part = std::min(count - done, group.periods[i] - place);
        std::memcpy(to + done, group.inputs[i] + place, static_cast<size_t>(part) * sizeof(float));
      }
    }
  }

  bool is_copied(const Group& group, size_t input) const {
    if (group.periods[input] == 1) return false;
    const bool is_overwritten = input == 0 && group.inputs[0] == group.outputs[0];
    return group.periods[input] != group.count || (is_overwritten && program_.reads_overwritten);
  }

  Source source(Place place, const Group& group, int64_t begin) const {
    const auto index = static_cast<size_t>(place.index);
    switch (place.kind) {
      case Place::kInput:
        if (group.periods[index] == 1) return {group.inputs[index], true};
        if (is_copied(group, index)) return {copies_.data() + index * kTile, false};
        return {group.inputs[index] + begin, false};
      case Place::kShared:
        return {shared_[index], true};
      case Place::kTemporary:
        return {temporaries_[index], false};
      case Place::kOutput:
        return {group.outputs[index] + begin, false};
      case Place::kNone:
        break;
    }
    return {nullptr, false};
  }

  float* target(Place place, const Group& group, int64_t begin) {
    const auto index = static_cast<size_t>(place.index);
    if (place.kind == Place::kOutput) return group.outputs[index] + begin;
    return temporaries_[index];
  }

  const Kernels& kernels_;
  const Program& program_;
  const std::vector<const float*>& shared_;
  RoundingTile* tiles_;
  int64_t stride_, tile_ = 0;
  std::vector<float> copies_;
  alignas(64) float temporaries_[kMostTemporaries][kTile];
};

}  // namespace

Program parse_program(const std::string& text) { return Reader().read(text); }

void run_step(const Kernels& kernels, const Instruction& step, Source a, Source b,
              const Target& out) {
  const auto& [to, stride, rows, columns] = out;
  if (!step.cast) {
    const int32_t singles = (a.single ? 1 : 0) + (b.single ? 2 : 0);
    const auto operation = static_cast<int32_t>(step.operation);
    const StepFunction function = kernels.steps.functions[operation][singles];
    return function({rows, columns, a.numbers, a.stride, b.numbers, b.stride, to, stride});
  }
  const auto& [index, kernel, plan] = *step.cast;
  if (rows == 1) {
    const float* from = side_by_side(a, to, columns);
    return kernels.round[kernel](plan, RandomKey{}, from, to, 0, columns, false);
  }
  for (int64_t row = 0; row < rows && a.single; ++row) {
    side_by_side(a, to + row * stride, columns);
  }
  const Source from = a.single ? Source{to, false, stride} : a;
  kernels.tiles.store_rounded[kernel](plan, from.numbers, from.stride, rows, columns, to, stride);
}

int64_t elements_of(const std::vector<Group>& groups) {
  int64_t tiles = 0;
  for (const Group& group : groups) tiles += tiles_of(group.count);
  return tiles * kTile;
}

void run_program(const Kernels& kernels, const Program& program, const std::vector<Group>& groups,
                 const std::vector<const float*>& shared, int64_t begin, int64_t end,
                 RoundingTile* tiles) {
  const FloatEnvironment standard(false);
  Runner runner(kernels, program, shared, tiles, elements_of(groups) / kTile);
  int64_t first = 0;  // of a group's elements
  for (const Group& group : groups) {
    const int64_t from = std::max(begin, first), to = std::min(end, first + group.count);
    if (from < to) runner.run(group, first / kTile, from - first, to - first);
    first += tiles_of(group.count) * kTile;
  }
}

void add_up(const Program& program, const std::vector<Group>& groups, const RoundingTile* tiles,
            double* fields) {
  const int64_t stride = elements_of(groups) / kTile;
  for (const Group& group : groups) {
    for (int32_t cast = 0; cast < program.casts; ++cast, fields += kRoundingFields) {
      add_up(tiles + cast * stride, group.count, fields);
    }
    tiles += tiles_of(group.count);
  }
}

}  // namespace onnxbf

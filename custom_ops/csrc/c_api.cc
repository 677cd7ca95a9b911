#include "c_api.h"

#include <stdexcept>
#include <string>

#include "elementwise.h"
#include "float_environment.h"
#include "parallel.h"
#include "sum.h"

using onnxbf::CastSpec;
using onnxbf::Kernels;
using onnxbf::RandomKey;
using onnxbf::RoundingTile;
using onnxbf::UpdateTile;

namespace {

const char* const kKernelNames[] = {
#define ONNXBF_ROUND(name, rounder) #name,
#define ONNXBF_CODES(suffix, type)
#include "kernels.inc"
#define ONNXBF_ROUND(name, rounder)
#define ONNXBF_CODES(suffix, type) "encode_" #suffix, "decode_" #suffix,
#include "kernels.inc"
    "random_words",
    "measure_rounding",
    "measure_update",
#define ONNXBF_STEP(name, operands) "step_" #name,
#include "elementwise.inc"
    nullptr,
};
constexpr int32_t kKernelCount = sizeof(kKernelNames) / sizeof(kKernelNames[0]) - 1;

}  // namespace

int32_t onnxbf_interface() { return kInterface; }

const char* onnxbf_instruction_set_name(int32_t index) {
  return onnxbf::instruction_set_name(index);
}

const char* onnxbf_kernel_name(int32_t index) {
  return kKernelNames[std::clamp(index, 0, kKernelCount)];
}

const char* onnxbf_instruction_set() { return onnxbf::instruction_set(); }

const char* onnxbf_round_kernel(const CastSpec* spec) {
  return kKernelNames[onnxbf::round_kernel(*spec)];
}

const char* onnxbf_problem(const CastSpec* spec) { return onnxbf::problem(*spec); }

const char* onnxbf_storage_problem(const CastSpec* spec) { return onnxbf::storage_problem(*spec); }

const Kernels* onnxbf_find_kernels(const char* instruction_set) {
  return onnxbf::find_kernels(instruction_set);
}

void onnxbf_quantize_dequantize(const Kernels* kernels, const CastSpec* spec, const RandomKey* key,
                                const float* in, float* out, int64_t begin, int64_t end,
                                int32_t threads) {
  onnxbf::parallel(begin, end, threads, [=](int64_t from, int64_t to) {
    onnxbf::quantize_dequantize(*kernels, *spec, *key, in + (from - begin), out + (from - begin),
                                from, to, end - begin);
  });
}

void onnxbf_quantize(const Kernels* kernels, const CastSpec* spec, const RandomKey* key,
                     const float* in, void* codes, int64_t begin, int64_t end, int32_t threads) {
  const int64_t size = onnxbf::code_size(*spec);
  onnxbf::parallel(begin, end, threads, [=](int64_t from, int64_t to) {
    onnxbf::quantize(*kernels, *spec, *key, in + (from - begin),
                     static_cast<char*>(codes) + (from - begin) * size, from, to);
  });
}

void onnxbf_dequantize(const Kernels* kernels, const CastSpec* spec, const void* codes, float* out,
                       int64_t count, int32_t threads) {
  const int64_t size = onnxbf::code_size(*spec);
  onnxbf::parallel(0, count, threads, [=](int64_t from, int64_t to) {
    onnxbf::dequantize(*kernels, *spec, static_cast<const char*>(codes) + from * size, out + from,
                       to - from);
  });
}

void onnxbf_observe_rounding(const Kernels* kernels, const CastSpec* spec, const RandomKey* key,
                             const float* in, float* out, int64_t begin, int64_t end,
                             int32_t threads, double* fields) {
  std::vector<RoundingTile> tiles(static_cast<size_t>(onnxbf::tiles_of(end - begin)));
  onnxbf::parallel(0, end - begin, threads, [&](int64_t from, int64_t to) {
    onnxbf::observe_rounding(*kernels, *spec, *key, in + from, out + from, begin + from,
                             begin + to, tiles.data() + from / onnxbf::kTile);
  });
  onnxbf::add_up(tiles.data(), end - begin, fields);
}

void onnxbf_observe_update(const Kernels* kernels, const CastSpec* spec, const float* update,
                           const float* before, const float* after, int64_t count,
                           int32_t threads, double* fields) {
  std::vector<UpdateTile> tiles(static_cast<size_t>(onnxbf::tiles_of(count)));
  onnxbf::parallel(0, count, threads, [&](int64_t from, int64_t to) {
    onnxbf::observe_update(*kernels, *spec, update + from, before + from, after + from, from,
                           to, tiles.data() + from / onnxbf::kTile);
  });
  onnxbf::add_up(tiles.data(), count, fields);
}

const char* onnxbf_arithmetic_problem(const char* arithmetic) {
  static thread_local std::string problem;
  try {
    onnxbf::parse_arithmetic(arithmetic);
    return nullptr;
  } catch (const std::invalid_argument& error) {
    problem = error.what();
    return problem.c_str();
  }
}

void onnxbf_matmul(const Kernels* kernels, const char* arithmetic, const float* a, const float* b,
                   float* out, int64_t rows, int64_t inner, int64_t columns, const RandomKey* key,
                   int32_t threads) {
  onnxbf::Product product{};
  product.rows = rows;
  product.inner = inner;
  product.columns = columns;
  product.a = {{a}, {0}, inner, 1, std::nullopt};
  product.b = {{b}, {0}, 1, columns, std::nullopt};
  product.alpha = product.beta = 1;
  product.out = out;
  product.random = *key;
  onnxbf::multiply(*kernels, onnxbf::parse_arithmetic(arithmetic), product,
                   [threads](int64_t count, const std::function<void(int64_t)>& body) {
                     onnxbf::parallel_tasks(count, threads, body);
                   });
}

void onnxbf_sum(const Kernels* kernels, const char* arithmetic, const float* x, float* out,
                int64_t outer, int64_t inner, int64_t after, const RandomKey* key,
                int32_t threads) {
  onnxbf::Sums sums = onnxbf::make_sums({outer, inner, after}, x, out);
  sums.random = *key;
  onnxbf::sum(*kernels, onnxbf::parse_arithmetic(arithmetic), sums,
              [&](int64_t count, const std::function<void(int64_t)>& body) {
                onnxbf::parallel_tasks(count, threads, body);
              });
}

void onnxbf_exponentials(const Kernels* kernels, const float* x, float* out, int64_t count,
                         int32_t threads) {
  onnxbf::parallel(0, count, threads, [=](int64_t from, int64_t to) {
    const onnxbf::FloatEnvironment nearest(false);
    const float nothing = 0;
    kernels->sums.exponentials(x + from, &nothing, 0, out + from, to - from);
  });
}

const char* onnxbf_program_problem(const char* text) {
  static thread_local std::string problem;
  try {
    onnxbf::parse_program(text);
    return nullptr;
  } catch (const std::invalid_argument& error) {
    problem = error.what();
    return problem.c_str();
  }
}

void onnxbf_elementwise(const Kernels* kernels, const char* program, const float* const* inputs,
                        const int64_t* periods, const float* const* shared, float* const* outputs,
                        int64_t count, int32_t threads) {
  const onnxbf::Program parsed = onnxbf::parse_program(program);
  const std::vector<const float*> numbers(shared, shared + parsed.shared);
  const std::vector<onnxbf::Group> groups{
      {std::vector<const float*>(inputs, inputs + parsed.inputs),
       std::vector<int64_t>(periods, periods + parsed.inputs),
       std::vector<float*>(outputs, outputs + parsed.outputs), count}};
  onnxbf::parallel(0, count, threads, [&](int64_t begin, int64_t end) {
    onnxbf::run_program(*kernels, parsed, groups, numbers, begin, end);
  });
}

void onnxbf_random_words(const Kernels* kernels, const RandomKey* key, uint32_t* words,
                         int64_t begin, int64_t end) {
  kernels->random_words(*key, words, begin, end);
}

void onnxbf_quantize_range(const Kernels* kernels, const onnxbf::RangeSpec* spec,
                           const RandomKey* key, const float* in, float* out, int64_t rows,
                           int64_t columns, int32_t threads) {
  const onnxbf::Tasks tasks = [=](int64_t count, const std::function<void(int64_t)>& task) {
    onnxbf::parallel_tasks(count, threads, task);
  };
  onnxbf::quantize_range(*kernels, *spec, *key, in, out, rows, columns, tasks);
}

void onnxbf_quantize_blocks(const Kernels* kernels, const onnxbf::BlockSpec* spec,
                            const RandomKey* key, const float* in, float* out, int64_t outer,
                            int64_t length, int64_t inner, int32_t threads) {
  const onnxbf::Tasks tasks = [=](int64_t count, const std::function<void(int64_t)>& task) {
    onnxbf::parallel_tasks(count, threads, task);
  };
  onnxbf::quantize_blocks(*kernels, *spec, *key, in, out, {outer, length, inner}, tasks);
}

void onnxbf_quantize_scaled(const Kernels* kernels, const onnxbf::ScaledSpec* spec,
                            const RandomKey* key, const float* in, float* out, int64_t count,
                            const float* state, float* next, int32_t threads) {
  const onnxbf::Tasks tasks = [=](int64_t many, const std::function<void(int64_t)>& task) {
    onnxbf::parallel_tasks(many, threads, task);
  };
  onnxbf::quantize_scaled(*kernels, *spec, *key, in, out, count, state, next, tasks);
}

// The kernels of each instruction set, as tables of functions.
#pragma once

#include <cstdint>

#include "aligned.h"
#include "block.h"
#include "direct.h"
#include "gradients.h"
#include "pair_tiles.h"
#include "panels.h"
#include "plan.h"
#include "range.h"
#include "steps.h"

namespace onnxbf {

enum RoundKernel : int32_t {
#define ONNXBF_ROUND(name, rounder) name,
#define ONNXBF_CODES(suffix, type)
#include "kernels.inc"
  kRoundKernels,
};

// Rounds the elements [begin, end); `past_cache`: write to memory without filling the cache.
using RoundFunction = void (*)(const Plan& plan, const RandomKey& key, const float* in, float* out,
                               int64_t begin, int64_t end, bool past_cache);
using RandomFunction = void (*)(const RandomKey& key, uint32_t* words, int64_t begin, int64_t end);

// Rounds the elements [begin, end), at most kTile, and says what that made of them.
using MeasureRounding = void (*)(const Plan& plan, const RandomKey& key, const float* in,
                                 float* out, int64_t begin, int64_t end, RoundingTile* tile);
// What an update did to weights, before and after it, and to their rounded copies.
using MeasureUpdate = void (*)(const float* update, const float* before, const float* after,
                               const float* copy_before, const float* copy_after, int64_t count,
                               UpdateTile* tile);

// Adds `count` products to each of a tile of sums. `a` holds `count` columns of rows numbers, `b`
// `count` rows of columns numbers, `sums` rows x columns; rows and columns are those of Kernels.
// `plan`: of the accumulator. `flush`: see Arithmetic.
using TileFunction = void (*)(const Plan& plan, bool flush, int64_t count, const float* a,
                              const float* b, float* sums);
// The same for a tile of which only so many rows are used, and FP32 multiply-adds.
using RowsFunction = void (*)(int64_t rows, bool flush, int64_t count, const float* a,
                              const float* b, float* sums);
// Adds a tile of terms to a tile of sums, rounding each sum.
using AddFunction = void (*)(const Plan& plan, bool flush, const float* terms, float* sums);

// Adds one group of `count` products to each of a tile of sums, as aligned.h says.
using AlignedFunction = void (*)(const Alignment& alignment, int64_t count, const float* a,
                                 const float* b, float* sums);

// The random bits of a tile of sums: see stochastic-inl.h.
struct SumRandom {
  RandomKey key;
  uint64_t element;    // the first sum's place in the result
  int64_t row_stride;  // from row to row
  uint64_t rounding;   // the first one's number
};
// As TileFunction and AddFunction, rounding stochastically.
using StochasticFunction = void (*)(const Plan& plan, const SumRandom& random, int64_t count,
                                    const float* a, const float* b, float* sums);
using AddStochasticFunction = void (*)(const Plan& plan, const SumRandom& random,
                                       const float* terms, float* sums);

// Adds `pairs` pairs of products as VDPBF16PS does. Numbers come by twos, in bfloat16: the even one in
// the lower half of a word, the odd one in the upper half.
using PairsFunction = void (*)(int64_t pairs, const uint32_t* a, const uint32_t* b, float* sums);

// Some rows of a product, and a tile's columns, which stand side by side in b. Strides count numbers.
struct SmallTile {
  int64_t rows, inner;  // at most the rows of a tile
  bool odd_first;       // of each two products, the second comes first
  bool flush;
  const float* a;
  int64_t a_row, a_step;  // from row to row, from product to product
  const float* b;
  int64_t b_step;
  float* sums;
  int64_t sums_row;
  const float* ahead;  // asked for meanwhile, from product to product: something to be read later,
  int64_t ahead_step;
  const float* written;  // and what will be written soon
  int64_t written_step;
};
// The sums of such products, from 0 on. Returns their largest magnitude, above kInfinity where one is NaN.
using SmallFunction = uint32_t (*)(const SmallTile& tile);

constexpr int64_t kCacheLine = 64 / sizeof(float);  // floats

// So many places, which are `step` floats apart: of each, two cache lines are asked for before they are needed.
struct Places {
  const float* from;
  int64_t step, count;
};

// Adds `count` products to each of a tile of sums of which so many rows are used, in FP32. `b` is a panel; of
// the left factor, a row's numbers stand side by side.
struct StandingTile {
  int64_t rows, count;
  bool odd_first;  // of each two products of a panel, the second stands first
  bool flush;      // see Arithmetic
  bool starts;     // sums are zero, whatever stands there
  bool ends;       // their largest magnitude is asked for
  const float* a;
  int64_t a_row;  // from row to row
  const float* b;
  float* sums;
  Places* ahead;  // asked for meanwhile, one after the other: those asked for are taken away. The last do not end
};
// Their largest magnitude at last, above kInfinity where one is NaN, if it is asked for.
using StandingFunction = uint32_t (*)(const StandingTile& tile);

// Which bits are set in some of the numbers.
using BitsFunction = uint32_t (*)(const float* numbers, int64_t count);
// The same of lines of so many numbers that are copied on the way; turned: number k of line i goes to
// to[k * to_stride + i].
using LinesFunction = uint32_t (*)(const float* from, int64_t from_stride, int64_t lines,
                                   int64_t length, float* to, int64_t to_stride);
// Where lines go that are cut into pieces as wide as panels: piece i of line k to line k of panel i.
struct PanelLines {
  float* to;
  int64_t stride;  // from panel to panel
  bool swaps;      // of each two lines, the second comes first
};
using SpreadFunction = uint32_t (*)(const float* from, int64_t from_stride, int64_t lines,
                                    int64_t length, const PanelLines& panels);
// Rounds rows of numbers on the way from one place to another, which may be the same; not stochastically.
using StoreFunction = void (*)(const Plan& plan, const float* from, int64_t from_stride,
                               int64_t rows, int64_t columns, float* to, int64_t to_stride);

struct TileKernels {
  int64_t rows, columns, vectors;  // in which the columns come
  GatherFunction gather;
  DirectFunction direct;
  TileFunction float32;  // FP32 multiply-adds; the others as Step and the accumulator say
  RowsFunction float32_rows;
  AddFunction add_float32;
  TileFunction bfloat16;
  TileFunction chunk_bfloat16;  // adds a whole chunk's float32 sum, whose inner sums begin at zero
  TileFunction rounded[kRoundKernels];
  TileFunction nearest_wide, nearest_narrow;  // to nearest even, of 8 exponent bits, and of fewer
  AddFunction add_rounded[kRoundKernels];
  TileFunction pair, fused_pair, pairwise, kahan;
  PairsFunction bfloat16_pairs;    // nullptr where the CPU lacks the instruction
  bool (*has_nan)(const float* sums);  // of a tile
  AlignedFunction aligned;
  StochasticFunction stochastic_wide, stochastic_narrow;  // of 8 exponent bits, and of fewer
  AddStochasticFunction add_stochastic_wide, add_stochastic_narrow;
  SmallFunction small;
  StandingFunction standing;
  BitsFunction bits_set;
  LinesFunction copy_lines, turn_lines;
  SpreadFunction spread_rows, spread_columns;  // to panels of as many numbers as a tile has of these
  StoreFunction store_rounded[kRoundKernels];
  StoreFunction store_ordinary[kRoundKernels];  // of numbers as Numbers has them, in rounding-inl.h
  const PairTiles* pair_tiles = nullptr;        // where the CPU has AMX
};

// Sums that are added to at a time: their terms come in rows of so many.
constexpr int64_t kSumWidth = 32;

// As TileFunction, StochasticFunction and AlignedFunction, adding `count` rows of terms.
using SumFunction = void (*)(const Plan& plan, bool flush, int64_t count, const float* terms,
                             float* sums);
using SumStochasticFunction = void (*)(const Plan& plan, const SumRandom& random, int64_t count,
                                       const float* terms, float* sums);
using SumAlignedFunction = void (*)(const Alignment& alignment, int64_t count, const float* terms,
                                    float* sums);

struct SumKernels {
  SumFunction float32, bfloat16;
  SumFunction rounded[kRoundKernels];
  SumFunction nearest_wide, nearest_narrow;
  SumFunction pair, fused_pair;
  // `lost`: of each sum, between calls.
  void (*kahan)(int64_t count, const float* terms, float* sums, float* lost);
  // `waiting`: kPairwiseLevels rows, between calls; `first`: terms before these. Then the sums of `count`
  // terms in all.
  void (*pairwise)(int64_t first, int64_t count, const float* terms, float* waiting);
  void (*pairwise_total)(int64_t count, const float* waiting, float* sums);
  SumAlignedFunction aligned;
  // Adds lines of `width` terms each to as many sums, one after the other.
  void (*lines)(const float* from, int64_t stride, int64_t count, int64_t width, float* sums);
  SumStochasticFunction stochastic_wide, stochastic_narrow;
  // out = e^(x - shift), rounded once (exponential.h), the difference rounded before; from number to
  // number, `shift` moves on by `shift_step`.
  void (*exponentials)(const float* x, const float* shift, int64_t shift_step, float* out,
                       int64_t count);
};
constexpr int64_t kPairwiseLevels = 48;

struct Kernels {
  const char* name;
  RoundFunction round[kRoundKernels];
#define ONNXBF_ROUND(name, rounder)
#define ONNXBF_CODES(suffix, type)                                                       \
  void (*encode_##suffix)(const Plan& plan, const float* in, type* codes, int64_t count); \
  void (*decode_##suffix)(const Plan& plan, const type* codes, float* out, int64_t count);
#include "kernels.inc"
  RandomFunction random_words;
  MeasureRounding measure_rounding[kRoundKernels];
  MeasureUpdate measure_update;
  TileKernels tiles;
  SumKernels sums;
  GradientKernels gradients;
  StepKernels steps;
  RangeKernels ranges;
  BlockKernels blocks;
};

// Which kernel rounds as `spec` says.
RoundKernel round_kernel(const CastSpec& spec);

// The table for an instruction set of this CPU; nullptr for any other name.
const Kernels* find_kernels(const char* name);

// The name of the index-th instruction set that this CPU has, best last; nullptr beyond the last.
const char* instruction_set_name(int32_t index);

// The table in use (see kernels.h, instruction_set).
const Kernels& chosen_kernels();

// quantize_dequantize and its companions of kernels.h on a given table.
void quantize_dequantize(const Kernels& kernels, const CastSpec& spec, const RandomKey& key,
                         const float* in, float* out, int64_t begin, int64_t end,
                         int64_t tensor_size);
void quantize(const Kernels& kernels, const CastSpec& spec, const RandomKey& key, const float* in,
              void* codes, int64_t begin, int64_t end);
void dequantize(const Kernels& kernels, const CastSpec& spec, const void* codes, float* out,
                int64_t count);
void observe_rounding(const Kernels& kernels, const CastSpec& spec, const RandomKey& key,
                      const float* in, float* out, int64_t begin, int64_t end, RoundingTile* tiles);
void observe_update(const Kernels& kernels, const CastSpec& spec, const float* update,
                    const float* before, const float* after, int64_t begin, int64_t end,
                    UpdateTile* tiles);

}  // namespace onnxbf

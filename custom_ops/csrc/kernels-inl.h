// The table of all kernels of an instruction set.
//
// kernels_<set>.cc includes this file once, after what lanes-inl.h asks for. It is compiled with
// flags that not every CPU understands: so nothing here may come from a template that another file
// instantiates, too (no standard library), lest the linker keep this copy for all.
#pragma once

#include "aligned-inl.h"
#include "bfloat16-inl.h"
#include "block-inl.h"
#include "codes-inl.h"
#include "direct-inl.h"
#include "elementwise-inl.h"
#include "exponential-inl.h"
#include "few_bits-inl.h"
#include "gemm-inl.h"
#include "gradients-inl.h"
#include "instruction_sets.h"
#include "measure-inl.h"
#include "measure_update-inl.h"
#include "order-inl.h"
#include "panels-inl.h"
#include "philox-inl.h"
#include "range-inl.h"
#include "round_range-inl.h"
#include "rounding-inl.h"
#include "small-inl.h"
#include "standing-inl.h"
#include "stochastic-inl.h"
#include "store-inl.h"
#include "sum-inl.h"

namespace onnxbf::ONNXBF_INSTRUCTION_SET {

extern const Kernels kernels;
const Kernels kernels = {
#define ONNXBF_TEXT_(text) #text
#define ONNXBF_TEXT(text) ONNXBF_TEXT_(text)
    ONNXBF_TEXT(ONNXBF_INSTRUCTION_SET),
    {
#define ONNXBF_ROUND(name, rounder) round<rounder>,
#define ONNXBF_CODES(suffix, type)
#include "kernels.inc"
    },
#define ONNXBF_ROUND(name, rounder)
#define ONNXBF_CODES(suffix, type) encode<type>, decode<type>,
#include "kernels.inc"
    random_words,
    {
#define ONNXBF_ROUND(name, rounder) measure_rounding<rounder>,
#define ONNXBF_CODES(suffix, type)
#include "kernels.inc"
    },
    measure_update,
    {
        kRows,
        kVectors * kLanes,
        kVectors,
        gather,
        direct<>,
        tile_float32,
        tile_rows,
        add_tile<Float32>,
        tile_bfloat16,
        chunk_bfloat16,
        {
#define ONNXBF_ROUND(name, rounder) tile_rounded<rounder>,
#define ONNXBF_CODES(suffix, type)
#include "kernels.inc"
        },
        tile_nearest<WideExponent<kNearestEven>>,
        tile_nearest<NarrowExponent<kNearestEven>>,
        {
#define ONNXBF_ROUND(name, rounder) add_tile<Rounded<rounder>>,
#define ONNXBF_CODES(suffix, type)
#include "kernels.inc"
        },
        tile_pair,
        tile_fused_pair,
        tile_pairwise,
        tile_kahan,
        nullptr,
        has_nan,
        tile_aligned,
        tile_stochastic<WideExponent<kStochastic>>,
        tile_stochastic<NarrowExponent<kStochastic>>,
        add_stochastic<WideExponent<kStochastic>>,
        add_stochastic<NarrowExponent<kStochastic>>,
        small_tile<>,
        standing_tile<>,
        bits_set,
        copy_lines,
        turn_lines,
        spread_lines<kRows>,
        spread_lines<kColumns>,
        {
#define ONNXBF_ROUND(name, rounder) store_rounded<rounder>,
#define ONNXBF_CODES(suffix, type)
#include "kernels.inc"
        },
        {
#define ONNXBF_ROUND(name, rounder) store_rounded<rounder::Of<kOrdinary>>,
#define ONNXBF_CODES(suffix, type)
#include "kernels.inc"
        },
    },
    {
        sum_float32,
        sum_bfloat16,
        {
#define ONNXBF_ROUND(name, rounder) sum_rounded<rounder>,
#define ONNXBF_CODES(suffix, type)
#include "kernels.inc"
        },
        sum_nearest<WideExponent<kNearestEven>>,
        sum_nearest<NarrowExponent<kNearestEven>>,
        sum_pair,
        sum_fused_pair,
        sum_kahan,
        sum_pairwise,
        pairwise_total,
        sum_aligned,
        sum_lines,
        sum_stochastic<WideExponent<kStochastic>>,
        sum_stochastic<NarrowExponent<kStochastic>>,
        exponentials,
    },
    gradient_kernels,
    step_kernels,
    range_kernels,
    block_kernels,
};

}  // namespace onnxbf::ONNXBF_INSTRUCTION_SET

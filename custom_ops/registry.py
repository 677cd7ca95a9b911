"""The custom operators of domain ``ai.onnxbf``: one row each.

A node says in full what it computes: the attributes below define a cast without any table of
names, so a saved model means the same to every reader and every later version.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

from onnxbf.block_cast import INT8, BlockCast, block_name
from onnxbf.formats import (
    FORMATS,
    Cast,
    NumberFormat,
    Overflow,
    Rounding,
    Specials,
    Subnormals,
)
from onnxbf.range_cast import Grouping, RangeCast, range_name

DOMAIN = "ai.onnxbf"
VERSION = 1

Attribute = int | float | str

CAST_DEFAULTS: Mapping[str, Attribute] = {
    "exponent_bits": 8,
    "mantissa_bits": 7,
    "specials": "ieee",
    "rounding": "rne",
    "subnormals": "keep",
    "overflow": "infinity",
    "random_bits": 32,
    "seed": 0,
    "node": 0,
}
# An arithmetic profile, as onnxbf.arithmetic reads it; and what else, as onnxbf.formats does, the
# operands and the result are rounded to.
COMPUTE_DEFAULTS: Mapping[str, Attribute] = {
    "arithmetic": "",
    "cast_a": "",
    "cast_b": "",
    "cast_y": "",
    "seed": 0,
    "node": 0,
}
# The same of what sums numbers of one operand.
SUM_DEFAULTS: Mapping[str, Attribute] = {
    name: value for name, value in COMPUTE_DEFAULTS.items() if name != "cast_b"
}
RANGE_DEFAULTS: Mapping[str, Attribute] = {
    "bits": 8,
    "grouping": "tensor",
    "zero": "free",
    "rounding": "rne",
    "seed": 0,
    "node": 0,
}
# Elements of 0 exponent bits, and 6 mantissa bits, are integers, times 2^-6.
BLOCK_DEFAULTS: Mapping[str, Attribute] = {
    "exponent_bits": 4,
    "mantissa_bits": 3,
    "specials": "nan",
    "rounding": "rne",
    "block": 32,
    "axis": -1,
    "seed": 0,
    "node": 0,
}
# They saturate, so there is no choice for overflow.
SCALED_DEFAULTS: Mapping[str, Attribute] = {
    "exponent_bits": 4,
    "mantissa_bits": 3,
    "specials": "nan",
    "rounding": "rne",
    "subnormals": "keep",
    "random_bits": 32,
    "margin": 0,
    "scale": "fp32",
    "seed": 0,
    "node": 0,
}
DELAYED_DEFAULTS: Mapping[str, Attribute] = {**SCALED_DEFAULTS, "history": 1024, "amax": "max"}
_REDUCTION: Mapping[str, Attribute] = {"keepdims": 1, "noop_with_empty_axes": 0}
_TRANSPOSED: Mapping[str, Attribute] = {"transA": 0, "transB": 0, "alpha": 1.0}
# Those of ONNX's Conv; where they are lists, what each of their numbers is by default.
_CONVOLUTION: Mapping[str, Attribute] = {
    "auto_pad": "NOTSET",
    "dilations": 1,
    "group": 1,
    "kernel_shape": "that of w",
    "pads": 0,
    "strides": 1,
}


@dataclass(frozen=True, slots=True)
class CustomOp:
    """One operator: its inputs (those ending in ``?`` may be absent) and attribute defaults."""

    name: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]
    summary: str


# What ONNX Runtime computes slowly in training, with inputs, outputs and attributes as there, but
# for the sizes of what MaxPoolGrad gives.
TRAINING_OPS = (
    CustomOp("ReluGrad", ("dy", "x"), {}, "dy where x > 0, 0 elsewhere"),
    CustomOp("ConvGrad", ("dy", "x", "w"), {"group": 1}, "the gradients of x, w and the bias"),
    CustomOp("GatherGrad", ("shape", "indices", "dy"), {"axis": 0}, "sums of rows of dy by index"),
    CustomOp(
        "LayerNormalizationGrad",
        ("dy", "x", "scale", "mean", "inverse_deviation"),
        {"axis": -1},
        "the gradients of x, scale and bias",
    ),
    CustomOp("MaxPool", ("x",), {}, "ONNX's MaxPool of images, and where it found the largest"),
    CustomOp("MaxPoolGrad", ("dy", "indices"), {}, "dy at the places of the largest, 0 elsewhere"),
    CustomOp(
        "SoftmaxCrossEntropyLoss",
        ("logits", "labels"),
        {"reduction": "mean"},
        "ONNX's SoftmaxCrossEntropyLoss of rows, without weights",
    ),
    CustomOp(
        "SoftmaxCrossEntropyLossGrad",
        ("dy", "log_probabilities", "labels"),
        {"reduction": "mean"},
        "the gradient of the logits",
    ),
)

OPS: dict[str, CustomOp] = {
    op.name: op
    for op in (
        CustomOp(
            "QuantizeDequantize",
            ("x", "step?", "offset?"),
            CAST_DEFAULTS,
            "float32 to a format and back to float32, in one pass",
        ),
        CustomOp(
            "QuantizeDequantizeObserved",
            ("x", "step?", "offset?"),
            CAST_DEFAULTS,
            "the same, and seven float64 numbers that say what it did to x",
        ),
        CustomOp(
            "ObserveUpdate",
            ("update", "before", "after"),
            CAST_DEFAULTS,
            "six float64 numbers that say how many weights an update left as they were",
        ),
        CustomOp(
            "Quantize",
            ("x", "step?", "offset?"),
            CAST_DEFAULTS,
            "float32 to a stored bfloat16, float16 or float8 tensor",
        ),
        CustomOp(
            "Dequantize",
            ("x",),
            {},
            "a stored bfloat16, float16 or float8 tensor to float32",
        ),
        CustomOp(
            "QuantizeScaled",
            ("x", "step?"),
            SCALED_DEFAULTS,
            "float32 scaled by its largest magnitude, to a format, and back",
        ),
        CustomOp(
            "QuantizeDelayed",
            ("x", "state", "step?"),
            DELAYED_DEFAULTS,
            "the same, scaled by the largest magnitudes of the steps before, and the next state",
        ),
        CustomOp(
            "QuantizeRange",
            ("x", "step?"),
            RANGE_DEFAULTS,
            "float32 to integers over the range of the numbers, and back",
        ),
        CustomOp(
            "QuantizeBlocks",
            ("x", "step?"),
            BLOCK_DEFAULTS,
            "float32 to a block format along an axis, and back",
        ),
        CustomOp(
            "MatMul",
            ("a", "b", "step?"),
            COMPUTE_DEFAULTS,
            "ONNX's MatMul under an arithmetic profile",
        ),
        CustomOp(
            "FusedMatMul",
            ("a", "b", "step?"),
            {**COMPUTE_DEFAULTS, **_TRANSPOSED},
            "ONNX Runtime's FusedMatMul under an arithmetic profile",
        ),
        CustomOp(
            "Gemm",
            ("a", "b", "c?", "step?"),
            {**COMPUTE_DEFAULTS, **_TRANSPOSED, "beta": 1.0},
            "ONNX's Gemm under an arithmetic profile",
        ),
        CustomOp(
            "Conv",
            ("x", "w", "b?", "step?"),
            {**COMPUTE_DEFAULTS, **_CONVOLUTION},
            "ONNX's Conv under an arithmetic profile",
        ),
        CustomOp(
            "ConvTranspose",
            ("x", "w", "b?", "step?"),
            {**COMPUTE_DEFAULTS, **_CONVOLUTION, "output_padding": 0, "output_shape": "not asked"},
            "ONNX's ConvTranspose under an arithmetic profile",
        ),
        CustomOp(
            "ConvInputGrad",
            ("dy", "w", "x", "step?"),
            {**COMPUTE_DEFAULTS, **_CONVOLUTION},
            "the gradient of its x under an arithmetic profile",
        ),
        CustomOp(
            "ConvWeightGrad",
            ("dy", "x", "w", "step?"),
            {**COMPUTE_DEFAULTS, **_CONVOLUTION},
            "the gradient of its w under an arithmetic profile, and that of its b",
        ),
        CustomOp(
            "ReduceSum",
            ("x", "axes?", "step?"),
            {**SUM_DEFAULTS, **_REDUCTION},
            "ONNX's ReduceSum under an arithmetic profile",
        ),
        CustomOp(
            "ReduceMean",
            ("x", "axes?", "step?"),
            {**SUM_DEFAULTS, **_REDUCTION},
            "ONNX's ReduceMean under an arithmetic profile",
        ),
        CustomOp(
            "Softmax",
            ("x", "step?"),
            {**SUM_DEFAULTS, "axis": -1},
            "ONNX's Softmax, its sum under an arithmetic profile",
        ),
        CustomOp(
            "LayerNormalization",
            ("x", "scale", "bias?", "step?"),
            {**SUM_DEFAULTS, "axis": -1, "epsilon": 1e-5, "stash_type": 1},
            "ONNX's LayerNormalization, its sums under an arithmetic profile",
        ),
        CustomOp(
            "SoftmaxGrad",
            ("dy", "y", "step?"),
            {**COMPUTE_DEFAULTS, "axis": -1},
            "the gradient of its x, its sum under an arithmetic profile",
        ),
        CustomOp(
            "LayerNormGrad",
            ("dy", "x", "scale", "mean", "inverse_deviation", "step?"),
            {**COMPUTE_DEFAULTS, "axis": -1},
            "the gradients of x, scale and bias, their sums under an arithmetic profile",
        ),
        *TRAINING_OPS,
        CustomOp(
            "Elementwise",
            ("groups*", "shared*"),
            {"program": ""},
            "many elementwise operations over groups of tensors, in one pass",
        ),
        CustomOp(
            "ElementwiseObserved",
            ("groups*", "shared*"),
            {"program": ""},
            "the same, and first seven float64 numbers for every rounding of every group",
        ),
    )
}


def cast_attributes(cast: Cast, *, seed: int = 0, node: int = 0) -> dict[str, Attribute]:
    """The attributes, those at their default left out, that make a node round as ``cast`` says.

    ``seed`` and ``node`` are written for stochastic rounding alone: nothing else reads them.
    """
    stochastic = cast.rounding is Rounding.STOCHASTIC
    return dict(_attributes(cast, seed if stochastic else 0, node if stochastic else 0))


@functools.lru_cache(maxsize=256)  # a model rounds thousands of tensors alike
def _attributes(cast: Cast, seed: int, node: int) -> dict[str, Attribute]:
    values: dict[str, Attribute] = {
        "exponent_bits": cast.format.exponent_bits,
        "mantissa_bits": cast.format.mantissa_bits,
        "specials": cast.format.specials.value,
        "rounding": cast.rounding.value,
        "subnormals": cast.subnormals.value,
        "overflow": cast.overflow.value,
        "random_bits": cast.random_bits,
        "seed": seed,
        "node": node,
    }
    return {key: value for key, value in values.items() if value != CAST_DEFAULTS[key]}


def range_attributes(cast: RangeCast, *, seed: int = 0, node: int = 0) -> dict[str, Attribute]:
    """The attributes of a QuantizeRange node, as ``cast_attributes`` gives those of others."""
    values: dict[str, Attribute] = {
        "bits": cast.bits,
        "grouping": cast.grouping.value,
        "zero": "exact" if cast.exact_zero else "free",
        "rounding": "sr" if cast.stochastic else "rne",
        "seed": seed if cast.stochastic else 0,
        "node": node if cast.stochastic else 0,
    }
    return {key: value for key, value in values.items() if value != RANGE_DEFAULTS[key]}


def attributes_range(attributes: Mapping[str, Attribute]) -> RangeCast:
    """The quantizer that a node with these attributes applies.

    Raises:
        SpecError: bits that are not from 2 to 8. ValueError: another unknown value.
    """
    full = {**RANGE_DEFAULTS, **attributes}
    grouping, stochastic = Grouping(str(full["grouping"])), full["rounding"] == "sr"
    exact_zero = full["zero"] == "exact"
    name = range_name(grouping, stochastic=stochastic, exact_zero=exact_zero)
    return RangeCast(name or "QuantizeRange", int(full["bits"]), grouping, stochastic, exact_zero)


def block_attributes(cast: BlockCast, *, seed: int = 0, node: int = 0) -> dict[str, Attribute]:
    """The attributes of a QuantizeBlocks node, as ``cast_attributes`` gives those of others."""
    values: dict[str, Attribute] = {
        "exponent_bits": 0 if cast.is_integer else cast.element.exponent_bits,
        "mantissa_bits": cast.element.mantissa_bits,
        "specials": cast.element.specials.value,
        "rounding": cast.rounding.value,
        "block": cast.block,
        "axis": cast.axis,
        "seed": seed if cast.stochastic else 0,
        "node": node if cast.stochastic else 0,
    }
    return {key: value for key, value in values.items() if value != BLOCK_DEFAULTS[key]}


def attributes_block(attributes: Mapping[str, Attribute]) -> BlockCast:
    """The block format that a node with these attributes applies.

    Raises:
        SpecError: a block of no elements, or a rounding that block formats do not have.
        ValueError: another unknown value.
    """
    full = {**BLOCK_DEFAULTS, **attributes}
    exponent_bits, mantissa_bits = int(full["exponent_bits"]), int(full["mantissa_bits"])
    if exponent_bits == 0 and mantissa_bits != INT8.mantissa_bits:
        raise ValueError(f"integers of {mantissa_bits} mantissa_bits are not known")
    specials = Specials(str(full["specials"]))
    element = INT8 if exponent_bits == 0 else _format(exponent_bits, mantissa_bits, specials)
    rounding, block = Rounding(str(full["rounding"])), int(full["block"])
    name = block_name(element) or "QuantizeBlocks"
    return BlockCast(name, element, rounding, block, int(full["axis"]))


def attributes_cast(attributes: Mapping[str, Attribute]) -> Cast:
    """The cast that a node with these attributes applies (``seed`` and ``node`` are not part)."""
    full = {**CAST_DEFAULTS, **attributes}
    return Cast(
        _format(
            int(full["exponent_bits"]), int(full["mantissa_bits"]), Specials(str(full["specials"]))
        ),
        Rounding(str(full["rounding"])),
        Subnormals(str(full["subnormals"])),
        Overflow(str(full["overflow"])),
        int(full["random_bits"]),
    )


def _format(exponent_bits: int, mantissa_bits: int, specials: Specials) -> NumberFormat:
    wanted = (exponent_bits, mantissa_bits, specials)
    for fmt in FORMATS.values():
        if (fmt.exponent_bits, fmt.mantissa_bits, fmt.specials) == wanted:
            return fmt
    suffix = {Specials.IEEE: "", Specials.NAN: "fn", Specials.NONE: "f"}[specials]
    return NumberFormat(f"e{exponent_bits}m{mantissa_bits}{suffix}", *wanted)

"""The custom operators of domain ``ai.onnxbf``: one row each.

A node says in full what it computes: the attributes below define a cast without any table of
names, so a saved model means the same to every reader and every later version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from onnxbf.custom_ops.attributes import (
    BLOCK_DEFAULTS,
    CAST_DEFAULTS,
    DELAYED_DEFAULTS,
    RANGE_DEFAULTS,
    SCALED_DEFAULTS,
    Attribute,
)

DOMAIN = "ai.onnxbf"
VERSION = 1
PROGRAM = "program"  # the attribute that holds one, as onnxbf.custom_ops.elementwise reads it

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
_REDUCTION: Mapping[str, Attribute] = {"keepdims": 1, "noop_with_empty_axes": 0}
# What a Transpose before or after a product would do.
_OPERAND_ORDERS: Mapping[str, Attribute] = dict.fromkeys(("perm_a", "perm_b"), "as they stand")
_ORDERS: Mapping[str, Attribute] = {**_OPERAND_ORDERS, "perm_y": "as they stand"}
# Whether a factor is known to hold numbers alone that rounding it leaves as they are.
_ROUNDED: Mapping[str, Attribute] = {"rounded_a": 0, "rounded_b": 0}
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
# for the sizes of what MaxPoolGrad gives, and what graphs that a trainer runs ask for beyond.
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
    CustomOp(
        "MaxPool",
        ("x",),
        {PROGRAM: ""},
        "ONNX's MaxPool of images, or of what a program makes of them, and where the largest stood",
    ),
    CustomOp("MaxPoolGrad", ("dy", "indices"), {}, "dy at the places of the largest, 0 elsewhere"),
    CustomOp(
        "SoftmaxCrossEntropyLoss",
        ("logits", "labels"),
        {"reduction": "mean"},
        "ONNX's SoftmaxCrossEntropyLoss of rows, without weights; what its gradient asks for",
    ),
    CustomOp(
        "SoftmaxCrossEntropyLossGrad",
        ("dy", "log_probabilities_or_logits", "labels", "largest?", "log_of_sum?"),
        {"reduction": "mean", "cast_y": ""},
        "the gradient of the logits",
    ),
    CustomOp("SoftmaxGrad_13", ("dy", "y"), {"axis": -1}, "the gradient of Softmax along rows"),
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
            "float32 scaled by its largest magnitude, to a format, and back; what that did to it",
        ),
        CustomOp(
            "QuantizeDelayed",
            ("x", "state", "step?"),
            DELAYED_DEFAULTS,
            "the same, scaled by the largest magnitudes of the steps before; the next state",
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
            {**COMPUTE_DEFAULTS, **_ROUNDED, **_ORDERS},
            "ONNX's MatMul under an arithmetic profile",
        ),
        CustomOp(
            "FusedMatMul",
            ("a", "b", "step?"),
            {**COMPUTE_DEFAULTS, **_ROUNDED, **_TRANSPOSED, **_ORDERS},
            "ONNX Runtime's FusedMatMul under an arithmetic profile",
        ),
        CustomOp(
            "MatMulElementwise",
            ("a", "b", "others*"),
            {**COMPUTE_DEFAULTS, **_ROUNDED, **_TRANSPOSED, **_OPERAND_ORDERS, PROGRAM: ""},
            "FusedMatMul, and elementwise operations on its result before that is written",
        ),
        CustomOp(
            "Gemm",
            ("a", "b", "c?", "step?"),
            {**COMPUTE_DEFAULTS, **_ROUNDED, **_TRANSPOSED, "beta": 1.0},
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
            "ONNX's ReduceSum under an arithmetic profile, or in float32, in order",
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
            "ONNX's LayerNormalization, its sums under an arithmetic profile, or in float32",
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
            {PROGRAM: ""},
            "many elementwise operations over groups of tensors, in one pass",
        ),
        CustomOp(
            "ElementwiseObserved",
            ("groups*", "shared*"),
            {PROGRAM: ""},
            "the same, and first seven float64 numbers for every rounding of every group",
        ),
    )
}

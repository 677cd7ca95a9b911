"""Convolutions with data: what their kernels under an arithmetic profile are tested on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from onnxbf.custom_ops.reference import Evaluator
from onnxbf.custom_ops.registry import DOMAIN
from tests.small_models import model, value

Arrays = dict[str, NDArray[Any]]
FORWARD, TO_INPUT, TO_WEIGHTS = "Conv", "ConvInputGrad", "ConvWeightGrad"
TRANSPOSED = "ConvTranspose"
_NODES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    FORWARD: (("x", "w", "b", "step"), ("y",)),
    TRANSPOSED: (("x", "w", "b", "step"), ("y",)),
    TO_INPUT: (("dy", "w", "x", "step"), ("dx",)),
    TO_WEIGHTS: (("dy", "x", "w", "step"), ("dw", "db")),
}
Shapes = dict[str, tuple[list[int], list[int], dict[str, Any]]]
SHAPES: Shapes = {  # of x and w
    "2-D": ([2, 3, 5, 6], [4, 3, 3, 3], {"pads": [1, 1, 1, 1]}),
    "strides": ([2, 2, 7, 6], [3, 2, 3, 2], {"strides": [2, 3], "pads": [2, 1, 0, 1]}),
    "strides beyond the kernel": ([1, 2, 6, 9], [2, 2, 1, 2], {"strides": [2, 4]}),
    "groups": ([2, 4, 4, 5], [6, 2, 2, 2], {"group": 2, "pads": [0, 1, 0, 0]}),
    "depthwise": ([1, 3, 5, 4], [3, 1, 3, 3], {"group": 3, "pads": [1, 1, 1, 1]}),
    "dilations": ([1, 2, 7, 6], [2, 2, 2, 3], {"dilations": [3, 2], "pads": [1, 2, 1, 2]}),
    "1-D": ([2, 2, 40], [3, 2, 3], {"strides": [2], "dilations": [2], "pads": [3, 1]}),
    "3-D": (
        [1, 2, 3, 3, 4],
        [2, 2, 2, 1, 3],
        {"strides": [1, 2, 1], "pads": [1, 0, 1, 0, 0, 1]},
    ),
    "4-D": (
        [1, 2, 2, 3, 2, 5],
        [2, 2, 1, 2, 2, 3],
        {"strides": [1, 2, 1, 1], "pads": [0, 1, 1, 0, 0, 1, 0, 2], "dilations": [1, 1, 2, 1]},
    ),
    "same upper": ([1, 1, 5, 4], [2, 1, 4, 3], {"auto_pad": "SAME_UPPER", "strides": [2, 1]}),
    "same lower": ([1, 1, 5, 4], [2, 1, 4, 2], {"auto_pad": "SAME_LOWER"}),
    "valid": ([1, 2, 5, 4], [2, 2, 2, 3], {"auto_pad": "VALID", "kernel_shape": [2, 3]}),
    "many panels": ([2, 1, 12, 14], [13, 1, 1, 1], {}),
    "no image": ([0, 2, 3, 3], [2, 2, 2, 2], {}),
}
_STRIDES = {"strides": [2, 3]}
TRANSPOSED_SHAPES: Shapes = {
    "2-D": ([2, 3, 5, 4], [3, 2, 3, 3], {"pads": [1, 1, 1, 1]}),
    "strides": ([1, 2, 4, 3], [2, 3, 4, 2], {"strides": [2, 3], "pads": [1, 0, 2, 1]}),
    "strides beyond the kernel": ([1, 2, 3, 2], [2, 2, 1, 2], {"strides": [2, 4]}),
    "groups": ([2, 4, 2, 3], [4, 1, 2, 3], {"group": 2, "pads": [0, 1, 0, 0], **_STRIDES}),
    "depthwise": ([1, 3, 4, 3], [3, 1, 3, 3], {"group": 3, "strides": [2, 2]}),
    "dilations": ([1, 2, 4, 3], [2, 2, 2, 3], {"dilations": [3, 2], "pads": [1, 2, 1, 2]}),
    "output padding": ([1, 2, 3, 3], [2, 2, 2, 2], {"output_padding": [1, 2], **_STRIDES}),
    "more padding": (
        [1, 2, 3, 3],
        [2, 2, 2, 2],
        {"output_padding": [2, 1], "strides": [1, 1], "dilations": [3, 2]},
    ),
    "smaller": ([1, 1, 4, 5], [1, 2, 3, 4], {"output_shape": [7, 12], **_STRIDES}),
    "smaller, upper": (
        [1, 1, 4, 5],
        [1, 2, 3, 4],
        {"output_shape": [8, 13], "auto_pad": "SAME_UPPER", **_STRIDES},
    ),
    "larger": ([1, 1, 4, 5], [1, 2, 3, 4], {"output_shape": [10, 17], **_STRIDES}),
    "same upper": ([1, 1, 5, 4], [1, 2, 4, 4], {"auto_pad": "SAME_UPPER", **_STRIDES}),
    "same lower": ([1, 1, 5, 4], [1, 2, 5, 4], {"auto_pad": "SAME_LOWER", **_STRIDES}),
    "same, far": ([1, 1, 3, 2], [1, 2, 2, 1], {"auto_pad": "SAME_UPPER", "strides": [3, 3]}),
    "valid": ([1, 2, 3, 3], [2, 1, 2, 3], {"auto_pad": "VALID", "kernel_shape": [2, 3]}),
    "1-D": ([2, 2, 17], [2, 3, 4], {"strides": [2], "dilations": [3], "pads": [3, 1]}),
    "3-D": (
        [1, 2, 2, 3, 2],
        [2, 2, 2, 1, 3],
        {"strides": [1, 2, 3], "pads": [1, 0, 1, 0, 0, 1]},
    ),
    "4-D": ([1, 2, 2, 2, 1, 3], [2, 2, 1, 2, 2, 2], {"strides": [1, 2, 1, 2]}),
    "no image": ([0, 2, 3, 3], [2, 2, 2, 2], {}),
    "no channels": ([1, 0, 3, 3], [0, 2, 2, 2], {}),
}


@dataclass(frozen=True)
class Case:
    """One node of domain ``ai.onnxbf``; ``attributes`` beside those of its shape."""

    op_type: str
    shape: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    bias: bool = True

    def __str__(self) -> str:
        return f"{self.op_type}-{self.shape}-{self.attributes.get('arithmetic', '')}"

    @property
    def sizes(self) -> tuple[list[int], list[int], dict[str, Any]]:
        return (TRANSPOSED_SHAPES if self.op_type == TRANSPOSED else SHAPES)[self.shape]

    @property
    def outputs(self) -> tuple[str, ...]:
        return _NODES[self.op_type][1]

    def feeds(self) -> Arrays:
        """Normal numbers, some of them zero, tiny, huge or, seldom, not finite."""
        x, w, attributes = self.sizes
        rng = np.random.default_rng(self.seed)
        transposed = self.op_type == TRANSPOSED
        maps = [attributes.get("group", 1) * w[1]] if transposed else w[:1]
        arrays: Arrays = {"x": _draw(rng, x), "w": _draw(rng, w), "b": _draw(rng, maps)}
        arrays["step"] = np.array(3)
        if "dy" in self.inputs():
            arrays["dy"] = _draw(rng, output_shape(self.shape))
        return {name: arrays[name] for name in self.inputs()}

    def inputs(self) -> list[str]:
        wanted = [*_NODES[self.op_type][0]]
        if "node" not in self.attributes:
            wanted.remove("step")
        if not self.bias and "b" in wanted:
            wanted.remove("b")
        return wanted


def _draw(rng: np.random.Generator, shape: list[int]) -> NDArray[np.float32]:
    numbers = rng.normal(size=shape).astype(np.float32)
    kinds = rng.integers(0, 200, shape)
    for index, odd in enumerate([0.0, -0.0, 1e-39, -3e-38, 1e30, np.inf, np.nan]):
        numbers[kinds == index] = odd
    return numbers


def output_shape(name: str) -> list[int]:
    """By ONNX's own shape inference."""
    x, w, attributes = SHAPES[name]
    node = helper.make_node("Conv", ["x", "w"], ["y"], **attributes)
    proto = model([node], [value("x", shape=x), value("w", shape=w)], [value("y")])
    (inferred,) = onnx.shape_inference.infer_shapes(proto).graph.output
    return [size.dim_value for size in inferred.type.tensor_type.shape.dim]


def single(case: Case) -> onnx.ModelProto:
    """A model of this node alone."""
    _, _, attributes = case.sizes
    node = helper.make_node(
        case.op_type,
        case.inputs(),
        case.outputs,
        domain=DOMAIN,
        name="node",
        **attributes,
        **case.attributes,
    )
    kinds = {"step": TensorProto.INT64}
    inputs = [value(name, kinds.get(name, TensorProto.FLOAT)) for name in case.inputs()]
    return model([node], inputs, [value(name) for name in case.outputs])


def evaluate(case: Case) -> Arrays:
    """What the scalar dot product makes of it."""
    results = Evaluator(single(case)).run(None, case.feeds())
    return dict(zip(case.outputs, results, strict=True))


_EVERY_SHAPE = ({"arithmetic": "avx512_bf16"}, {"arithmetic": "sequential{format=fp16}"})
_EVERY_PROFILE: list[dict[str, Any]] = [
    {"arithmetic": text}
    for text in (
        "fp32",
        "amx_bf16",
        "arm_bf16",
        "arm_ebf16",
        "torch_cpu_bf16",
        "sequential",
        "chunked{size=5}",
        "pairwise",
        "kahan",
        "exact",
        "hopper_bf16",
    )
]
_CASTS = {"cast_a": "e4m3fn:rtz", "cast_b": "bf16", "cast_y": "fp16:rna"}
_RANDOM = {"arithmetic": "sequential{rounding=sr}", "seed": 5, "node": 6}

CASES: list[Case] = [
    *(
        Case(op, shape, attributes)
        for op in _NODES
        for shape in (TRANSPOSED_SHAPES if op == TRANSPOSED else SHAPES)
        for attributes in _EVERY_SHAPE[: 1 if shape in ("many panels", "1-D", "4-D") else 2]
    ),
    *(
        Case(op, "groups", attributes, seed=1)
        for op in _NODES
        for attributes in (*_EVERY_PROFILE, {"arithmetic": "kahan", **_CASTS}, _RANDOM)
    ),
    Case(FORWARD, "groups", {"arithmetic": "kahan", **_CASTS}, bias=False),
    Case(TRANSPOSED, "groups", {"arithmetic": "kahan", **_CASTS}, bias=False),
]

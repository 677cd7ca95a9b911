"""How many floating-point operations the products of a graph take."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx_ir as ir

from onnxbf.graph import Phase, phase_of

Shape = tuple[int, ...]


def product_flops(model: ir.Model, shapes: Mapping[str, Shape]) -> dict[Phase, int]:
    """Multiplications and additions of matrix products and convolutions, by phase.

    All other operators count as none.

    Args:
        shapes: of every float tensor, by name.
    """
    found = dict.fromkeys(Phase, 0)
    for node in model.graph:
        count = _COUNTS.get(node.op_type)
        if count is not None:
            inputs = [shapes.get(value.name or "", ()) if value else () for value in node.inputs]
            outputs = [shapes.get(v.name or "", ()) if _wanted(v) else () for v in node.outputs]
            found[phase_of(node)] += 2 * count(node, inputs, outputs)
    return found


def _wanted(value: ir.Value) -> bool:
    return bool(value.name) and (value.is_graph_output() or bool(value.uses()))


def _product(node: ir.Node, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    (left, *_), (result, *_) = inputs, outputs
    transposed = node.attributes.get_int("transA", 0)
    return math.prod(result) * left[-2 if transposed else -1]


def _convolution(_: ir.Node, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    return math.prod(outputs[0]) * math.prod(inputs[1][1:])


def _transposed(_: ir.Node, inputs: Sequence[Shape], __: Sequence[Shape]) -> int:
    return math.prod(inputs[0]) * math.prod(inputs[1][1:])


def _gradient(_: ir.Node, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    """Of the input and of the weights: each as much as the convolution, where it is wanted."""
    wanted = sum(bool(shape) for shape in outputs[:2])
    return wanted * math.prod(inputs[0]) * math.prod(inputs[2][1:])


_Count = Callable[[ir.Node, Sequence[Shape], Sequence[Shape]], Any]
_COUNTS: Mapping[str, _Count] = {
    "MatMul": _product,
    "FusedMatMul": _product,
    "Gemm": _product,
    "Conv": _convolution,
    "ConvTranspose": _transposed,
    "ConvGrad": _gradient,
}

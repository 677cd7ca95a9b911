"""Write products of vectors as products of matrices.

The gradient that ONNX Runtime 1.19 builds of a MatMul with a vector fails when it runs, where a
size of the other factor is not fixed.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxbf.builder import Builder
from onnxbf.graph import Names, replace_node
from onnxbf.passes.base import GraphPass


@dataclass(frozen=True)
class WidenVectors(GraphPass):
    """Give vectors that a MatMul of the main graph reads a second axis; shapes have to be known."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        names = Names(model)
        found = [node for node in model.graph if node.op_type == "MatMul" and not node.domain]
        found = [node for node in found if any(map(_is_vector, node.inputs))]
        for node in found:
            _widen(node, names)
        return ir.passes.PassResult(model, modified=bool(found))


def _is_vector(value: ir.Value | None) -> bool:
    return value is not None and value.shape is not None and len(value.shape) == 1


def _widen(node: ir.Node, names: Names) -> None:
    b = Builder(names, node.name or node.op_type)
    places = (0, 1)  # where the axis goes in the left factor, and in the right one
    factors, made = [], []
    for factor, place in zip(node.inputs, places, strict=True):
        wide = _is_vector(factor)
        factors.append(b.Unsqueeze(factor, b.integers(place)) if wide else factor)
        made += [place - 2] if wide else []
    result = b.Squeeze(b.MatMul(*factors), b.integers(*made))
    replace_node(node, b.nodes, [result])

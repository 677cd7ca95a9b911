"""Replace the gradients of tables that rows are looked up in, which ONNX Runtime adds in any order.

Its GatherGrad adds rows from several threads as they come, so that a row that is looked up more
than once has another gradient in every run. ScatterElements adds one after the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx_ir as ir

from onnxbf.builder import Builder
from onnxbf.graph import OPERATOR_KEY, Names, phase_of, replace_node
from onnxbf.passes.base import GraphPass

_FIRST_OPSET = 16  # in which ScatterElements adds


@dataclass(frozen=True)
class LowerLookups(GraphPass):
    """Write GatherGrad along the first axis of a table of fixed shape as ScatterElements."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        if model.opset_imports.get("", 1) < _FIRST_OPSET:
            return ir.passes.PassResult(model, modified=False)
        names = Names(model)
        found = [node for node in model.graph if node.op_type == "GatherGrad"]
        lowered = [node for node in found if _lower(node, names)]
        return ir.passes.PassResult(model, modified=bool(lowered))


def _lower(node: ir.Node, names: Names) -> bool:
    table = _table(node)
    if table is None or table.shape is None or node.attributes.get_int("axis", 0) != 0:
        return False
    sizes = [*table.shape]
    fixed = [size for size in sizes if isinstance(size, int)]
    if len(fixed) != len(sizes):
        return False
    _, indices, gradient = node.inputs
    b = Builder(names, node.name or node.op_type, phase=phase_of(node))
    rows = b.Reshape(gradient, b.integers(-1, math.prod(fixed[1:])))
    places = b.Expand(b.Reshape(indices, b.integers(-1, 1)), b.integers(1, math.prod(fixed[1:])))
    zeros = b.ConstantOfShape(b.integers(fixed[0], math.prod(fixed[1:])))
    total = b.ScatterElements(zeros, places, rows, axis=0, reduction="add")
    b.nodes[-1].metadata_props[OPERATOR_KEY] = node.op_type
    result = total if len(fixed) == 2 else b.Reshape(total, b.integers(*fixed))
    for value in (rows, total, result):
        value.dtype = ir.DataType.FLOAT
    replace_node(node, b.nodes, [result])
    return True


def _table(node: ir.Node) -> ir.Value | None:
    """What the forward node looks up in; the gradient node is given its shape."""
    shape = node.inputs[0]
    producer = None if shape is None else shape.producer()
    return producer.inputs[0] if producer is not None and producer.op_type == "Shape" else None

"""Have our kernel add the gradients of tables that rows are looked up in, to the same bits.

LowerLookups has written them as ScatterElements, which takes one number at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from onnxbf.custom_ops.registry import DOMAIN, VERSION
from onnxbf.graph import OPERATOR_KEY, take_place
from onnxbf.passes.base import GraphPass


@dataclass(frozen=True)
class SumLookups(GraphPass):
    """Replace what LowerLookups wrote by GatherGrad of ours, which adds rows in the same order."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [node for node in model.graph if node.op_type == "ScatterElements"]
        replaced = [node for node in found if _replace(node)]
        if replaced:
            model.opset_imports[DOMAIN] = VERSION
            RemoveUnusedNodesPass()(model)
        return ir.passes.PassResult(model, modified=bool(replaced))


def _replace(node: ir.Node) -> bool:
    if node.metadata_props.get(OPERATOR_KEY) != "GatherGrad":
        return False
    zeros, places, rows = node.inputs
    sizes = _source(zeros, "ConstantOfShape")
    indices = _source(_source(places, "Expand"), "Reshape")
    if sizes is None or indices is None or indices.dtype is not ir.DataType.INT64:
        return False
    made = ir.node(
        "GatherGrad",
        [sizes, indices, rows],
        domain=DOMAIN,
        name=node.name,
        metadata_props=dict(node.metadata_props),
    )
    graph = node.graph
    assert graph is not None
    graph.insert_before(node, made)
    take_place(made.outputs[0], node.outputs[0])
    graph.remove(node, safe=True)
    return True


def _source(value: ir.Value | None, op_type: str) -> ir.Value | None:
    """The first input of the node of this type that gives a value; None where another does."""
    node = None if value is None else value.producer()
    return node.inputs[0] if node is not None and node.op_type == op_type else None

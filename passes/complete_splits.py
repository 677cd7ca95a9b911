"""Give the gradient of Split the parts that the gradient builder leaves out.

It concatenates the gradients of those outputs that the loss depends on, and takes the result, which
may be too short, for the gradient of the whole. Source: ONNX Runtime 1.19,
orttraining/core/graph/gradient_builder.cc, GetSplitGradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxbf.builder import Builder
from onnxbf.graph import Names
from onnxbf.passes.base import GraphPass


@dataclass(frozen=True)
class CompleteSplits(GraphPass):
    """Insert zeros for outputs of Split that have no gradient, as long as those are."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        splits = {node.name: node for node in model.graph if node.op_type == "Split"}
        names = Names(model)
        modified = False
        for node in model.graph:
            forward, backward, _ = (node.name or "").partition("_Grad/")
            if backward and node.op_type == "Concat" and forward in splits:
                modified |= _complete(node, splits[forward], names)
        return ir.passes.PassResult(model, modified=modified)


def _complete(node: ir.Node, split: ir.Node, names: Names) -> bool:
    given = {value.name: value for value in node.inputs if value is not None}
    parts = [(value, given.get(f"{value.name}_grad")) for value in split.outputs]
    if all(part is not None for _, part in parts):
        return False
    b = Builder(names, f"{split.name}_Grad")
    whole = [b.ConstantOfShape(b.Shape(value)) if part is None else part for value, part in parts]
    node.resize_inputs(len(whole))
    for index, part in enumerate(whole):
        node.replace_input_with(index, part)
    assert node.graph is not None
    node.graph.insert_before(node, b.nodes)
    return True

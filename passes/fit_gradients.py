"""Bring nodes into the forms that ONNX Runtime's gradient builder expects.

It ends in an assertion, some of which end the process, where an optional output that a gradient
reads is absent. Source: ONNX Runtime 1.19, orttraining/core/graph/gradient_builder.cc.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxbf.graph import Names, all_graphs
from onnxbf.passes.base import GraphPass

# Operators whose gradient reads all of their outputs, and how many those are.
_OUTPUTS = {
    "Dropout": 2,
    "LayerNormalization": 3,
    "SimplifiedLayerNormalization": 2,
    "SoftmaxCrossEntropyLoss": 2,
    "MaxPool": 2,
    "TopK": 2,
}


@dataclass(frozen=True)
class FitGradients(GraphPass):
    """Add optional outputs that are absent; drop an addend of Gemm that counts nothing.

    A value that a node reads twice is read the second time through an Identity: the builder gives
    both gradients one name.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        names = Names(model)
        modified = False
        for graph in all_graphs(model):
            for node in graph:
                modified |= _complete(node, names) | _drop_addend(node) | _separate(node, names)
        return ir.passes.PassResult(model, modified=modified)


def _complete(node: ir.Node, names: Names) -> bool:
    wanted = _OUTPUTS.get(node.op_type, 0)
    present = len(node.outputs)
    if present < wanted:
        node.resize_outputs(wanted)
    unnamed = [value for value in node.outputs[:wanted] if not value.name]
    for value in unnamed:
        value.name = names.fresh(f"{node.name}:{value.index()}")
    return bool(unnamed) or present < wanted


def _drop_addend(node: ir.Node) -> bool:
    """Gemm's third input where beta is 0, which the builder refuses."""
    beta = node.attributes.get("beta")
    if node.op_type != "Gemm" or beta is None or beta.is_ref() or beta.as_float() != 0:
        return False
    node.resize_inputs(2)
    node.attributes.pop("beta")
    return True


def _separate(node: ir.Node, names: Names) -> bool:
    graph, seen, modified = node.graph, set(), False
    assert graph is not None
    for index, value in enumerate(node.inputs):
        if value is None or value.dtype is not ir.DataType.FLOAT:
            continue
        if value in seen:
            copied = ir.node("Identity", [value], name=names.fresh(f"{node.name}/Identity"))
            copy = copied.outputs[0]
            copy.name = names.fresh(f"{copied.name}:0")
            copy.type, copy.shape = value.type, value.shape
            graph.insert_before(node, copied)
            node.replace_input_with(index, copy)
            modified = True
        seen.add(value)
    return modified

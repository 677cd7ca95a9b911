"""Give nodes the outputs that their gradients read."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxbf.graph import Names, all_graphs
from onnxbf.passes.base import GraphPass

# Operators whose gradient reads all of their outputs, and how many those are. Source: ONNX Runtime
# 1.19, orttraining/core/graph/gradient_builder.cc.
_OUTPUTS = {
    "LayerNormalization": 3,
    "SimplifiedLayerNormalization": 2,
    "SoftmaxCrossEntropyLoss": 2,
    "MaxPool": 2,
    "TopK": 2,
}


@dataclass(frozen=True)
class CompleteOutputs(GraphPass):
    """Add optional outputs that are absent: mean, deviation, log-probabilities, indices."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        names = Names(model)
        modified = False
        for graph in all_graphs(model):
            for node in graph:
                modified |= _complete(node, names)
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

"""Bring batch normalization that was exported for training into the form of inference."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxbf.graph import all_graphs
from onnxbf.passes.base import GraphPass


@dataclass(frozen=True)
class UseRunningStatistics(GraphPass):
    """Normalize by the running statistics; what a node gives besides its result is dropped.

    What read the next running statistics reads the present ones.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [
            node
            for graph in all_graphs(model)
            for node in graph
            if node.op_type == "BatchNormalization" and _is_for_training(node)
        ]
        for node in found:
            _use(node)
        return ir.passes.PassResult(model, modified=bool(found))


def _is_for_training(node: ir.Node) -> bool:
    return len(node.outputs) > 1 or node.attributes.get_int("training_mode", 0) != 0


def _use(node: ir.Node) -> None:
    graph = node.graph
    assert graph is not None
    dropped = node.outputs[1:]
    graph.outputs[:] = [value for value in graph.outputs if value not in dropped]
    for value, present in zip(dropped, node.inputs[3:5]):
        assert present is not None
        value.replace_all_uses_with(present)
    node.resize_outputs(1)
    node.attributes.pop("training_mode", None)

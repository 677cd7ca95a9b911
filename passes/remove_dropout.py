"""Take dropout out of a network that is used, not trained."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxbf.graph import all_graphs, constant_of, replace_node
from onnxbf.passes.base import GraphPass


@dataclass(frozen=True)
class RemoveDropout(GraphPass):
    """Give readers of a Dropout's output its input. One whose mask is read stays.

    Attributes:
        idle: only those that were exported for inference, which drop nothing.
    """

    idle: bool = False

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [n for graph in all_graphs(model) for n in graph if n.op_type == "Dropout"]
        removed = [node for node in found if (not self.idle or _is_idle(node)) and _remove(node)]
        if removed and self.idle:
            self.report.notes.append(
                "Dropout is off in this model, and stays off. Export it in training mode to train "
                "with dropout."
            )
        return ir.passes.PassResult(model, modified=bool(removed))


def _is_idle(node: ir.Node) -> bool:
    mode = node.inputs[2] if len(node.inputs) > 2 else None
    if mode is None:
        return True
    constant = constant_of(mode)
    return constant is not None and not constant.numpy().any()


def _remove(node: ir.Node) -> bool:
    source, result, graph = node.inputs[0], node.outputs[0], node.graph
    if source is None or graph is None or any(mask.uses() for mask in node.outputs[1:]):
        return False
    if result.is_graph_output():  # which keeps its name
        same = ir.node("Identity", [source], name=node.name)
        replace_node(node, [same], same.outputs)
        return True
    result.replace_all_uses_with(source, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    return True

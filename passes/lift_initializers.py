"""Move the initializers of control flow's bodies into the main graph."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxbf.graph import Names, all_graphs
from onnxbf.passes.base import GraphPass


@dataclass(frozen=True)
class LiftInitializers(GraphPass):
    """So a weight of a body is one weight for all the body's runs, and can be trained."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        names = Names(model)
        inner = [graph for graph in all_graphs(model) if graph is not model.graph]
        lifted = [(graph, value) for graph in inner for value in _held(graph)]
        for graph, value in lifted:
            _pass_on(graph, value, names)
            name = value.name or ""
            graph.initializers.pop(name)
            if name in model.graph.initializers:  # of another body
                value.name = names.fresh(name)
            model.graph.register_initializer(value)
        return ir.passes.PassResult(model, modified=bool(lifted))


def _held(graph: ir.Graph) -> list[ir.Value]:
    """The initializers that are no inputs as well."""
    return [value for value in graph.initializers.values() if not value.is_graph_input()]


def _pass_on(graph: ir.Graph, value: ir.Value, names: Names) -> None:
    """Have a node give what the body itself gives: its outputs must be its own."""
    if not value.is_graph_output():
        return
    node = ir.node("Identity", [value], name=names.fresh(f"{value.name}/Identity"))
    (result,) = node.outputs
    result.name, result.type, result.shape = f"{node.name}:0", value.type, value.shape
    graph.append(node)
    graph.outputs[:] = [result if output is value else output for output in graph.outputs]

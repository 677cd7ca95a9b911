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
        lifted = [(graph, name) for graph in inner for name in _held(graph)]
        for graph, name in lifted:
            value = graph.initializers.pop(name)
            if name in model.graph.initializers:  # of another body
                value.name = names.fresh(name)
            model.graph.register_initializer(value)
        return ir.passes.PassResult(model, modified=bool(lifted))


def _held(graph: ir.Graph) -> list[str]:
    """The initializers that are no inputs as well."""
    inputs = {value.name for value in graph.inputs}
    return [name for name in graph.initializers if name not in inputs]

"""Remove the quantize nodes that change nothing, so that no value is rounded twice."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxbf.graph import all_graphs
from onnxbf.passes.base import GraphPass
from onnxbf.passes.representable import Analysis, node_cast


@dataclass(frozen=True)
class EliminateRedundant(GraphPass):
    """Bypass each quantize node whose input already holds numbers of its format.

    A node is kept, though redundant, where it gives a graph's output its name and its input cannot
    take that name (an input or another output of a graph, or a value of an outer graph).
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = (node_cast(node) for graph in all_graphs(model) for node in graph)
        casts = frozenset(cast for cast in found if cast is not None)
        redundant: list[ir.Node] = []

        def judge(node: ir.Node, changes_nothing: bool) -> None:
            if changes_nothing:
                redundant.append(node)

        Analysis(model, casts, judge).run()
        removed = {node.name for node in redundant if _bypass(node)}
        self.report.changes[:] = [c for c in self.report.changes if c.quantize not in removed]
        return ir.passes.PassResult(model, modified=bool(removed))


def _bypass(node: ir.Node) -> bool:
    source, result, graph = node.inputs[0], node.outputs[0], node.graph
    assert source is not None and graph is not None
    if result.is_graph_output() and not _may_take_name(source, graph):
        return False
    if result.is_graph_output():
        name = result.name
        result.replace_all_uses_with(source, replace_graph_outputs=True)
        result.name = None
        source.name = name
    else:
        result.replace_all_uses_with(source)
    graph.remove(node, safe=True)
    return True


def _may_take_name(value: ir.Value, graph: ir.Graph) -> bool:
    computed_here = value.producer() is not None and value.graph is graph
    return computed_here and not value.is_graph_output()

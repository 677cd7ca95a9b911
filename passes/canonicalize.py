"""Bring a model into the one shape that later passes rely on, without changing its meaning."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxbf.graph import all_graphs
from onnxbf.passes.base import GraphPass


@dataclass(frozen=True)
class Canonicalize(GraphPass):
    """Give every node a name that no other node has; names of values stay as they are.

    Rules select nodes by name, reports and errors speak of them by name, and gradient graphs name
    their nodes after the forward ones.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        nodes = [node for graph in all_graphs(model) for node in graph]
        taken = {node.name for node in nodes if node.name}
        seen: set[str] = set()
        modified = False
        for node in nodes:
            if not node.name or node.name in seen:
                node.name = _fresh(node.name or node.op_type, taken)
                modified = True
            seen.add(node.name)
        return ir.passes.PassResult(model, modified=modified)


def _fresh(wanted: str, taken: set[str]) -> str:
    count = 1
    while f"{wanted}_{count}" in taken:
        count += 1
    taken.add(f"{wanted}_{count}")
    return f"{wanted}_{count}"

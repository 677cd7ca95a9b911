"""Take names of sizes out of a model where the gradient builder would draw wrong conclusions.

It believes that axes of different names have the same size, even where one of them is 1 at run time
and broadcast; their gradients then lack a sum. Of sizes without a name it believes nothing.
Source: ONNX Runtime 1.19, orttraining/core/graph/gradient_builder_base.cc, and by trying.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxbf.graph import all_graphs
from onnxbf.passes.base import GraphPass


@dataclass(frozen=True)
class ForgetSymbols(GraphPass):
    """Keep only names that inputs declare, and none where two of them meet in one operator."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graph = model.graph
        declared = {name for value in graph.inputs for name in _symbols(value)}
        if any(_mixes(node, declared) for node in graph):
            declared = set()
        modified = False
        for value in _values(model):
            modified |= _forget(value, declared)
        return ir.passes.PassResult(model, modified=modified)


def _values(model: ir.Model) -> Iterator[ir.Value]:
    for graph in all_graphs(model):
        yield from graph.inputs
        for node in graph:
            yield from node.outputs


def _symbols(value: ir.Value) -> Iterator[str]:
    for size in value.shape or ():
        if isinstance(size, ir.SymbolicDim) and size.value is not None:
            yield size.value


def _mixes(node: ir.Node, declared: set[str]) -> bool:
    """Whether axes of two declared names stand against each other in a node's inputs."""
    shapes = [[*value.shape] for value in node.inputs if value is not None and value.shape]
    for sizes in zip(*(reversed(shape) for shape in shapes)):
        names = {size.value for size in sizes if isinstance(size, ir.SymbolicDim)}
        if len(names & declared) > 1:
            return True
    return False


def _forget(value: ir.Value, declared: set[str]) -> bool:
    if all(name in declared for name in _symbols(value)) or value.shape is None:
        return False
    value.shape = ir.Shape(
        size if isinstance(size, int) or size.value in declared else None for size in value.shape
    )
    return True

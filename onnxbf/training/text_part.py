"""The part of a network that computes from text, which ONNX Runtime cannot bind to memory.

It holds no parameter, so it runs in a session of its own, before a step, on arrays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass, ShapeInferencePass

from onnxbf.errors import UnsupportedError
from onnxbf.graph import subgraphs_of
from onnxbf.protos import to_proto
from onnxbf.session import make_session, run

Array = NDArray[Any]


class TextPart:
    """What a model computes from text alone: indices, one-hot vectors ...

    Args:
        model: loses that part, and takes what it gives as inputs instead of text.

    Raises:
        UnsupportedError: a node reads text and what data or parameters say, too.
    """

    def __init__(self, model: ir.Model, threads: int | None = None) -> None:
        ends = [*_Text(model.graph).ends]
        part = _part(model)
        for value, given in zip(ends, part.graph.outputs, strict=True):
            value.type, value.shape = given.type, given.shape
        self._session = make_session(to_proto(part).SerializeToString(), threads=threads)
        self._texts = [value.name or "" for value in part.graph.inputs]
        graph = model.graph
        graph.inputs[:] = [value for value in graph.inputs if value.name not in self._texts]
        for value in ends:
            _feed(graph, value)
        RemoveUnusedNodesPass()(model)

    def __call__(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """The batch, with what the model takes in the place of text."""
        rest = {name: array for name, array in batch.items() if name not in self._texts}
        return {**rest, **run(self._session, {name: batch[name] for name in self._texts})}


def has_text(model: ir.Model) -> bool:
    """Whether a model takes text."""
    return any(value.dtype is ir.DataType.STRING for value in model.graph.inputs)


class _Text:
    """What a graph computes from text alone.

    Attributes:
        inputs: text that it takes.
        others: the nodes that read something else, too.
        ends: what these read of what is computed from text alone.
    """

    def __init__(self, graph: ir.Graph) -> None:
        self.inputs = [value for value in graph.inputs if value.dtype is ir.DataType.STRING]
        self.others: list[ir.Node] = []
        self.ends: dict[ir.Value, None] = {}
        fixed, followed = {*graph.initializers.values()}, {*self.inputs}
        for node in graph:
            reads = [*_reads(node)]
            if all(value in fixed for value in reads):
                fixed.update(node.outputs)
            elif all(value in fixed or value in followed for value in reads):
                followed.update(node.outputs)
            else:
                self.others.append(node)
                self.ends |= dict.fromkeys(value for value in reads if value in followed)
                _check(node)


def _check(node: ir.Node) -> None:
    read = next((value for value in _reads(node) if value.dtype is ir.DataType.STRING), None)
    if read is not None:
        raise UnsupportedError(
            f"{node.op_type} node {node.name!r} reads text, {read.name!r}, and what is no text: "
            "that cannot be trained. Compute it in the data instead."
        )


def _reads(node: ir.Node) -> Iterator[ir.Value]:
    """The inputs of a node, and what the graphs inside of it read, from around or not."""
    yield from (value for value in node.inputs if value is not None)
    for graph in subgraphs_of(node):
        inner = {*graph.inputs, *graph.initializers.values()}
        inner.update(value for each in graph for value in each.outputs)
        yield from (value for each in graph for value in _reads(each) if value not in inner)


def _part(model: ir.Model) -> ir.Model:
    """A model of text, which gives what other nodes read of it."""
    part = model.clone()
    graph = part.graph
    text = _Text(graph)
    graph.outputs[:] = text.ends
    graph.inputs[:] = text.inputs
    graph.remove(text.others)
    RemoveUnusedNodesPass()(part)
    ShapeInferencePass()(part)  # inputs must be of a known type
    return part


def _feed(graph: ir.Graph, value: ir.Value) -> None:
    """Have what reads ``value`` read an input of its name."""
    made = ir.Value(name=value.name, type=value.type, shape=value.shape)
    value.replace_all_uses_with(made, replace_graph_outputs=True)
    value.name = f"{value.name}/of_text"
    graph.inputs.append(made)

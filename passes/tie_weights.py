"""Tie weights again that an exporter copied.

A language model whose embedding is its output layer, too, has one matrix in two places. Exporters
transpose it for the output layer and store that as a second initializer; trained apart, the two
would make another network.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onnxbf.graph import Names
from onnxbf.passes.base import GraphPass


@dataclass(frozen=True, slots=True)
class Tie:
    """An initializer that was replaced by ``source``, or by its transpose."""

    name: str
    source: str
    transposed: bool


@dataclass(frozen=True)
class TieWeights(GraphPass):
    """Replace a float32 matrix that equals another, or its transpose, by that one.

    Matrices whose elements are all equal are left alone: they only begin equal.

    Attributes:
        ties: what was replaced, filled in by the pass.
    """

    ties: list[Tie] = field(default_factory=list)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        names = Names(model)
        kept: dict[bytes, ir.Value] = {}
        tied = 0
        for value, array in list(_matrices(model)):
            same, turned = _digest(array), _digest(array.T)
            source = kept.get(same) or kept.get(turned)
            if source is None:
                kept[same] = value
                continue
            self.tie(model.graph, value, source, same not in kept, names)
            tied += 1
        return ir.passes.PassResult(model, modified=bool(tied))

    def tie(
        self, graph: ir.Graph, value: ir.Value, source: ir.Value, transposed: bool, names: Names
    ) -> None:
        replacement = source
        if transposed:
            name = names.fresh(f"{value.name}/Transpose")
            node = ir.node("Transpose", [source], {"perm": [1, 0]}, name=name)
            replacement = node.outputs[0]
            replacement.name, replacement.type = names.fresh(f"{name}:0"), value.type
            replacement.shape = value.shape
            graph.insert_before(graph[0], node)
        value.replace_all_uses_with(replacement)
        assert value.name is not None
        graph.initializers.pop(value.name)
        self.ties.append(Tie(value.name, source.name or "", transposed))
        how = "the transpose of" if transposed else "equal to"
        self.report.notes.append(
            f"{value.name} is {how} {source.name}: taken for one parameter in two places, and "
            "trained as one."
        )


def _matrices(model: ir.Model) -> Iterator[tuple[ir.Value, np.ndarray]]:
    """Initializers that could be tied weights."""
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if tensor is None or tensor.dtype is not ir.DataType.FLOAT or len(tensor.shape) != 2:
            continue
        array = tensor.numpy()
        if array.size > 1 and not np.all(array == array.flat[0]) and not value.is_graph_output():
            yield value, array


def _digest(array: np.ndarray) -> bytes:
    shape = np.array(array.shape, np.int64).tobytes()
    return hashlib.sha256(shape + np.ascontiguousarray(array).tobytes()).digest()

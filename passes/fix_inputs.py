"""Give inputs of a model a constant for good: flags, ratios, numbers of steps, initial states."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxbf.builder import Builder
from onnxbf.errors import NameUnknown, SpecError
from onnxbf.graph import Names
from onnxbf.passes.base import GraphPass

Array = NDArray[Any]
_KINDS: Mapping[str, str] = {
    "b": "true or false",
    "i": "whole numbers",
    "u": "whole numbers",
    "f": "numbers",
    "O": "text",
}
_INTO: Mapping[str, str] = {"b": "b", "i": "iu", "u": "iu", "f": "iuf", "O": "U"}


def parse_inputs(texts: Sequence[str]) -> dict[str, str]:
    """``NAME=VALUE`` texts by name.

    Raises:
        SpecError: a text of another form, or a name that stands twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise SpecError(f"Cannot read input {text!r}: expected name=value.")
        if name in found:
            raise SpecError(f"Input {name!r} is given twice.")
        found[name] = value
    return found


@dataclass(frozen=True)
class FixInputs(GraphPass):
    """Replace inputs by constants, which later passes fold conditions and steps by.

    Attributes:
        values: JSON by the names of inputs: a number, ``true`` or ``false``, or lists of these;
            text may stand as it is. One number fills a tensor of any shape; a size that is not
            fixed is that of the other input whose size has the same name.

    Raises:
        NameUnknown: no such input.
        SpecError: a value that is not of the input's type or shape.
    """

    values: Mapping[str, str] = field(default_factory=dict)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graph, names = model.graph, Names(model)
        inputs = {value.name or "": value for value in graph.inputs}
        for name in self.values:
            if name not in inputs:
                raise NameUnknown("input", name, inputs)
        fixed = [inputs[name] for name in self.values]
        graph.inputs[:] = [value for value in graph.inputs if value not in fixed]
        made: list[ir.Node] = []
        for value in fixed:
            b = Builder(names, value.name or "")
            result = _constant(b, value, _read(value, self.values[value.name or ""]), graph.inputs)
            value.replace_all_uses_with(result, replace_graph_outputs=True)
            made += b.nodes
        for node in reversed(made):
            graph.insert_before(graph[0], node)
        return ir.passes.PassResult(model, modified=bool(fixed))


def _read(value: ir.Value, text: str) -> Array:
    """The constant that a text gives an input, in the input's type."""
    if value.dtype is None or not isinstance(value.type, ir.TensorType):
        raise SpecError(f"Input {value.name!r} is no tensor of a known type: it cannot be given.")
    dtype = value.dtype.numpy()
    try:
        given = np.asarray(json.loads(text))
    except ValueError:  # no JSON, or lists of different lengths
        given = np.asarray(text)
    if given.dtype.kind not in _INTO.get(dtype.kind, ""):
        raise SpecError(
            f"Input {value.name!r} cannot be {text!r}: expected "
            f"{_KINDS.get(dtype.kind, 'an array of the data')}."
        )
    if dtype.kind == "O":
        given = np.char.encode(given, "utf-8")  # as ONNX stores text
    cast = given.astype(dtype)
    if dtype.kind in "iu" and (cast != given).any():
        raise SpecError(f"Input {value.name!r} cannot be {text!r}: that is beyond {dtype}.")
    return cast


def _constant(b: Builder, value: ir.Value, array: Array, others: Sequence[ir.Value]) -> ir.Value:
    """``array`` in the shape of an input, which may depend on the sizes of ``others``."""
    assert value.dtype is not None
    sizes = None if value.shape is None else list(value.shape)
    if sizes is None or _is_whole(array, sizes):
        return b.constant(array, value.dtype)
    if array.ndim:
        raise SpecError(
            f"Input {value.name!r} has shape {value.shape}, but is given {array.shape}: give one "
            "number, or all of them."
        )
    if all(isinstance(size, int) for size in sizes):
        return b.constant(np.broadcast_to(array, [int(str(s)) for s in sizes]), value.dtype)
    parts = [_size(b, value, size, others) for size in sizes]
    expanded: ir.Value = b.Expand(b.constant(array, value.dtype), b.Concat(*parts, axis=0))
    expanded.type, expanded.shape = value.type, value.shape
    return expanded


def _is_whole(array: Array, sizes: Sequence[int | ir.SymbolicDim]) -> bool:
    return array.ndim == len(sizes) and all(
        not isinstance(size, int) or size == found for size, found in zip(sizes, array.shape)
    )


def _size(
    b: Builder, value: ir.Value, size: int | ir.SymbolicDim, others: Sequence[ir.Value]
) -> ir.Value:
    if isinstance(size, int):
        return b.integers(size)
    for other in others:
        sizes = [*(other.shape or ())]
        if size.value is not None and size in sizes:
            found: ir.Value = b.Gather(b.Shape(other), b.integers(sizes.index(size)), axis=0)
            return found
    raise SpecError(
        f"Input {value.name!r} has shape {value.shape}, and no other input has a size "
        f"{str(size)!r}: give all of its numbers, as lists."
    )

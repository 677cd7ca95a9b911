"""Two models side by side in one graph, so that one loss trains both."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import onnx_ir as ir

from onnxbf.errors import ModelError, SpecError
from onnxbf.graph import all_graphs
from onnxbf.passes.inline_functions import InlineFunctions
from onnxbf.report import Report
from onnxbf.training.prepare import with_opset

BATCH = "batch"
_NAME = re.compile(r"[\w.-]+")


def compose(
    first: ir.Model, second: ir.Model, names: Sequence[str] = ("first", "second")
) -> ir.Model:
    """A model that computes what both compute; neither is changed.

    Weights, nodes and inner values are called ``<name>/...``. Inputs and outputs keep their names,
    but for those that both models have, which are called ``<name>/...``, too. The first dimension
    of every input is the batch's, which is the same for both. Functions are inlined.

    Args:
        names: what the models are called.

    Raises:
        SpecError: names that are not two different words.
        UnsupportedError: opsets that differ and cannot be converted to the newer one.
        ModelError: two versions of another domain than ONNX's own.
    """
    if len({*names}) != 2 or not all(map(_NAME.fullmatch, names)):
        raise SpecError(f"Two models need two names, of letters, digits and '.-_': not {names}.")
    parts = [model.clone() for model in (first, second)]
    for part in parts:
        InlineFunctions(Report("none"))(part)
    opset = max(part.opset_imports.get("", 1) for part in parts)
    parts = [with_opset(part, opset) for part in parts]
    both = {*_outer(parts[0])} & {*_outer(parts[1])}
    for part, name in zip(parts, names):
        _rename(part, name, both)
    return _joined(*parts)


def _outer(model: ir.Model) -> Iterator[str]:
    for value in (*model.graph.inputs, *model.graph.outputs):
        yield value.name or ""


def _rename(model: ir.Model, name: str, both: set[str]) -> None:
    graph = model.graph
    kept = {value for value in (*graph.inputs, *graph.outputs) if value.name not in both}
    for inner in all_graphs(model):
        for value in (*inner.inputs, *inner.initializers.values()):
            _prefix(value, name, kept)
        for node in inner:
            node.name = f"{name}/{node.name}" if node.name else None
            for value in node.outputs:
                _prefix(value, name, kept)
    sizes = {BATCH, *(_text(value.shape[0]) for value in graph.inputs if value.shape)}
    for value in (*graph.inputs, *graph.outputs):
        if value.shape is not None:
            value.shape = ir.Shape([_size(size, name, sizes) for size in value.shape])
    for value in graph.inputs:
        if value.shape and not isinstance(value.shape[0], int):
            value.shape = ir.Shape([BATCH, *value.shape[1:]])


def _prefix(value: ir.Value, name: str, kept: set[ir.Value]) -> None:
    if value.name and value not in kept:
        value.name = f"{name}/{value.name}"


def _size(size: int | ir.SymbolicDim, name: str, batches: set[str]) -> int | str | None:
    """A size under the name that it has in both models together."""
    text = _text(size)
    if isinstance(size, int) or not text:
        return size if isinstance(size, int) else None
    return BATCH if text in batches else f"{name}/{text}"


def _text(size: int | ir.SymbolicDim) -> str:
    return "" if isinstance(size, int) else size.value or ""


def _joined(first: ir.Model, second: ir.Model) -> ir.Model:
    for domain, version in second.opset_imports.items():
        ours = first.opset_imports.setdefault(domain, version)
        if ours != version:
            raise ModelError(
                f"The models use versions {ours} and {version} of domain {domain!r}: export them "
                "with one."
            )
    first.ir_version = max(first.ir_version, second.ir_version)
    graph, other = first.graph, second.graph
    inputs, outputs, nodes = [*other.inputs], [*other.outputs], [*other]
    weights = [*other.initializers.values()]
    other.inputs.clear()
    other.outputs.clear()
    other.remove(nodes)
    other.initializers.clear()
    graph.inputs.extend(inputs)
    for value in weights:
        graph.register_initializer(value)
    graph.extend(nodes)
    graph.outputs.extend(outputs)
    return first

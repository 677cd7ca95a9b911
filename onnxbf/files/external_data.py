"""Weights in files beside the model: found, checked, referred to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import onnx_ir as ir

from onnxbf.errors import ModelError, UnsupportedError
from onnxbf.graph import all_graphs

_DERIVED = "onnxbf.derived_from_external"


def external_tensors(model: ir.Model) -> Iterator[ir.ExternalTensor]:
    """Every initializer whose numbers stand in another file."""
    return (tensor for tensor in _weights(model) if isinstance(tensor, ir.ExternalTensor))


def mark_derived(tensor: ir.LazyTensor) -> None:
    """Say that a tensor is worked out of an external one, to be streamed as that would be."""
    tensor.meta[_DERIVED] = True


def holds_derived(model: ir.Model) -> bool:
    """Whether some initializer is worked out of an external one when it is written."""
    return any(isinstance(t, ir.LazyTensor) and _DERIVED in t.meta for t in _weights(model))


def _weights(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    for graph in all_graphs(model):
        for value in graph.initializers.values():
            if value.const_value is not None:
                yield value.const_value


def check_external(model: ir.Model, path: Path) -> None:
    """Raise ModelError unless the external weights of a model at ``path`` lie there, whole."""
    folder = path.parent.resolve()
    sizes: dict[str, int] = {}
    for tensor in external_tensors(model):
        location = str(tensor.location)
        if location not in sizes:
            sizes[location] = _external_size(folder, location, path)
        if tensor.length not in (None, tensor.nbytes):
            raise ModelError(
                f"Tensor {tensor.name!r} of {str(path)!r} takes {tensor.nbytes} bytes, but "
                f"{tensor.length} of {location!r} are said to be it: export the model again."
            )
        end = (tensor.offset or 0) + tensor.nbytes
        if end > sizes[location]:
            raise ModelError(
                f"Tensor {tensor.name!r} of {str(path)!r} needs {end} bytes of {location!r}, "
                f"which has {sizes[location]}: the file is cut off."
            )


def _external_size(folder: Path, location: str, path: Path) -> int:
    data = (folder / location).resolve()
    if not data.is_relative_to(folder):
        raise ModelError(
            f"{str(path)!r} refers to weights at {location!r}, outside of its own folder: refused. "
            "Move them beside the model."
        )
    if not os.path.isfile(data):
        raise ModelError(
            f"{str(path)!r} refers to weights in {location!r}, which is missing: put it into "
            f"{str(folder)!r}."
        )
    return data.stat().st_size


def check_references(model: ir.Model, folder: Path) -> None:
    """Raise UnsupportedError unless a model in ``folder`` may refer to its external weights."""
    for tensor in external_tensors(model):
        if not stays(tensor, folder):
            raise UnsupportedError(
                f"--keep-weights: tensor {tensor.name!r} lies in {str(tensor.path)!r}, and ONNX "
                f"models may not refer to files outside of their folder: write the model there, "
                "or leave out --keep-weights."
            )


def stays(tensor: ir.ExternalTensor, folder: Path) -> bool:
    """Whether a model in ``folder`` refers to the tensor's own file."""
    return Path(tensor.path).resolve() == (folder / tensor.location).resolve()

"""Inputs for a model that nobody gave inputs for: random where that is meaningful, and seeded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from onnxbf.errors import ModelError

_UNKNOWN_SIZE = 2  # of a dimension that the model leaves open

Arrays = dict[str, NDArray[np.generic]]


def required_inputs(model: ir.Model) -> list[ir.Value]:
    """The graph inputs that a caller must feed: those without an initializer."""
    return [value for value in model.graph.inputs if not value.is_initializer()]


def sample_inputs(model: ir.Model, *, seed: int = 0) -> Arrays:
    """Random inputs: normal for floating point, valid rows for indices of a table, else ones.

    Raises:
        ModelError: an input that is not a tensor.
    """
    generator = np.random.default_rng(seed)
    return {value.name or "": _sample(value, generator) for value in required_inputs(model)}


def _sample(value: ir.Value, generator: np.random.Generator) -> NDArray[np.generic]:
    dtype = value.dtype
    if dtype is None or not isinstance(value.type, ir.TensorType):
        raise ModelError(
            f"Input {value.name!r} is no tensor: give inputs in an .npz file with --inputs."
        )
    shape = tuple(_size(size) for size in (value.shape or ()))
    if dtype is ir.DataType.STRING:
        return np.full(shape, "a", dtype=object)
    if dtype.is_floating_point():
        return generator.standard_normal(shape).astype(dtype.numpy())
    rows = _table_rows(value)
    if rows is not None and dtype.is_integer():
        return generator.integers(0, rows, shape).astype(dtype.numpy())
    return np.ones(shape, dtype.numpy())


def _size(size: int | ir.SymbolicDim) -> int:
    return size if isinstance(size, int) else _UNKNOWN_SIZE


def _table_rows(value: ir.Value) -> int | None:
    """The fewest rows of all tables that ``value`` indexes by Gather; None if it indexes none."""
    found = [
        int(shape[0])
        for node in _readers(value)
        if node.op_type == "Gather" and (table := node.inputs[0]) is not None
        if (shape := table.shape) is not None and len(shape) and isinstance(shape[0], int)
    ]
    return min(found, default=None)


def _readers(value: ir.Value) -> list[ir.Node]:
    """The nodes that read a value, seen through Cast, Reshape and the like."""
    found = []
    for node, index in value.uses():
        found.append(node)
        if index == 0 and node.op_type in ("Cast", "Reshape", "Flatten", "Identity", "Unsqueeze"):
            found.extend(_readers(node.outputs[0]))
    return found


def load_inputs(path: str | Path, models: Mapping[str, ir.Model]) -> Arrays:
    """Arrays of an ``.npz`` file, one for each input of every model.

    Raises:
        ModelError: not an ``.npz`` file, or an input of a model that it lacks.
    """
    path = Path(path)
    try:
        data = np.load(path, allow_pickle=False)
        if not isinstance(data, NpzFile):
            raise ValueError("it is no .npz file: make one with numpy.savez(path, NAME=array).")
        with data:
            arrays = {name.removeprefix("input/"): data[name] for name in data.files}
    except (OSError, EOFError, ValueError, AttributeError) as error:
        raise ModelError(f"Cannot read inputs from {str(path)!r}: {error}") from None
    for name, model in models.items():
        for value in required_inputs(model):
            if value.name not in arrays:
                raise ModelError(
                    f"{str(path)!r} has no array {value.name!r}, which {name} needs; it has: "
                    f"{', '.join(sorted(arrays)) or 'none'}."
                )
    return arrays

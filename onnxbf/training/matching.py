"""Which field of the data goes to which input of a model, and whether it fits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxbf.errors import DataError
from onnxbf.graph import LABEL, kind_of
from onnxbf.training.batching import Batches
from onnxbf.training.examples import TEXT, Data, Field, describe

Array = NDArray[Any]

_LABEL_NAMES = frozenset({"labels", "label", "targets", "target", "y"})


@dataclass(frozen=True, slots=True)
class Match:
    """How batches of the data become batches of a model.

    Attributes:
        names: of the field that each input takes, by the input's name; inputs whose first axis is
            that of examples come first.
        dtypes: of the inputs.
        axes: of each input, that of examples.
        fixed_batch: the inputs whose number of examples the model fixes, and that number.
        notes: what the user should know.
    """

    names: Mapping[str, str]
    dtypes: Mapping[str, np.dtype[Any]]
    axes: Mapping[str, int]
    fixed_batch: Mapping[str, int]
    notes: tuple[str, ...]

    def __call__(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """A batch under the names, in the types and in the order of axes of the inputs."""
        return {
            name: self._turned(name, batch[field].astype(self.dtypes[name], copy=False))
            for name, field in self.names.items()
        }

    def _turned(self, name: str, array: Array) -> Array:
        axis = self.axes[name]
        return np.ascontiguousarray(np.moveaxis(array, 0, axis)) if axis else array

    def check_batches(self, batches: Batches) -> None:
        """DataError where the model fixes another size than all batches have."""
        for name, size in self.fixed_batch.items():
            if size != batches.batch_size:
                raise DataError(
                    f"Input {name!r} takes batches of {size}, not of {batches.batch_size}: choose "
                    "that batch size, or export the model with a symbolic one."
                )
            if batches.last_is_short:
                raise DataError(
                    f"Input {name!r} takes batches of exactly {size}, but the last one of an epoch "
                    "is shorter: leave it out (--drop-last)."
                )


def match_inputs(data: Data, inputs: Sequence[ir.Value]) -> Match:
    """Fit data to the inputs of a model: each takes the field of its name.

    Without such a field, the labels take the only one called label, target or the like; and a
    single input that then remains takes the single field that does. Whole numbers and narrower
    floating point widen where every number stays what it is; float64 is rounded to float32.

    Examples lie along an input's first axis. But where most inputs agree on that axis' size or
    name, and one has it on another axis alone, they lie along that one: the initial state of a
    recurrent layer is of layers, examples, units.

    Args:
        inputs: those that are part of a batch, the labels among them.

    Raises:
        DataError: an input without a field, or one of another type, rank or size.
    """
    names, axes = _names(data, inputs), _axes(inputs)
    checked = [_check(v, names[v.name or ""], data, axes[v.name or ""]) for v in inputs]
    dtypes = {value.name or "": _dtype(value) for value in inputs}
    notes = [note for note in checked if note]
    notes += [f"{data.source}: input {to!r} takes {of!r}." for to, of in names.items() if to != of]
    sizes = {v.name or "": v.shape[axes[v.name or ""]] for v in inputs if v.shape}
    fixed = {name: size for name, size in sizes.items() if isinstance(size, int)}
    ordered = {name: names[name] for name in sorted(names, key=axes.__getitem__)}
    return Match(ordered, dtypes, axes, fixed, tuple(notes))


def _axes(inputs: Sequence[ir.Value]) -> dict[str, int]:
    """The axis of examples of each input."""
    sizes = {value.name or "": _sizes(value) for value in inputs}
    first = Counter(each[0] for each in sizes.values() if each and each[0] is not None)
    examples = first.most_common(1)[0][0] if first else None
    return {
        name: each.index(examples) if examples in each and each[0] is not None else 0
        for name, each in sizes.items()
    }


def _sizes(value: ir.Value) -> list[int | str | None]:
    """Sizes of axes: numbers, names, None where nothing is known."""
    return [s if isinstance(s, int) else s.value for s in value.shape or ()]


def _names(data: Data, inputs: Sequence[ir.Value]) -> dict[str, str]:
    found = {value.name or "": value.name or "" for value in inputs if value.name in data.fields}
    rest = [value for value in inputs if value.name not in found]
    fields = [name for name in data.names if name not in found]
    labels = [value for value in rest if kind_of(value) == LABEL]
    named = [name for name in fields if name.casefold() in _LABEL_NAMES]
    if len(labels) == len(named) == 1:
        found[labels[0].name or ""] = named[0]
        rest.remove(labels[0])
        fields.remove(named[0])
    if len(rest) == len(fields) == 1:
        found[rest[0].name or ""] = fields[0]
        rest = []
    if rest:
        raise DataError(
            f"{data.source} has nothing for input {_describe(rest[0])}: it holds "
            f"{describe(data.fields)}. Give an array the "
            "name of the input, or the input a constant (--input NAME=VALUE)."
        )
    return {value.name or "": found[value.name or ""] for value in inputs}


def _check(value: ir.Value, name: str, data: Data, axis: int) -> str | None:
    """Raise DataError where a field does not fit; a note where its numbers change their kind."""
    field, expected = data.fields[name], _dtype(value)
    if not _shape_fits(value, field, axis):
        raise _misfit(value, name, data, "")
    if (field.dtype == TEXT) != (expected == TEXT):
        raise _misfit(value, name, data, "")
    if np.can_cast(field.dtype, expected, "safe"):
        widened = field.dtype.kind in "iu" and expected.kind == "f"
        return f"{data.source}: {name!r} is {field.dtype}, and is not scaled." if widened else None
    if field.dtype == np.float64 and expected == np.float32:
        return f"{data.source}: {name!r} is float64, and is rounded to float32."
    raise _misfit(value, name, data, f" Convert it to {expected}.")


def _shape_fits(value: ir.Value, field: Field, axis: int) -> bool:
    if value.shape is None:
        return True
    sizes = [size for index, size in enumerate(value.shape) if index != axis]
    return len(value.shape) == 1 + len(field.shape) and all(
        not isinstance(size, int) or size == found for size, found in zip(sizes, field.shape)
    )


def _misfit(value: ir.Value, name: str, data: Data, advice: str) -> DataError:
    return DataError(
        f"Input {_describe(value)} cannot take {name!r}, which is {data.fields[name]}.{advice} "
        f"{data.source} holds {describe(data.fields)}."
    )


def _describe(value: ir.Value) -> str:
    """An input in words: 'x' (float32[N, 3])."""
    shape = "" if value.shape is None else f"[{', '.join(map(str, value.shape))}]"
    dtype = _dtype(value)
    return f"{value.name!r} ({'text' if dtype == TEXT else dtype}{shape})"


def _dtype(value: ir.Value) -> np.dtype[Any]:
    if value.dtype is None or not isinstance(value.type, ir.TensorType):
        raise DataError(f"Input {value.name!r} is no tensor of a known type: data cannot give it.")
    return value.dtype.numpy()


def check_labels(labels: Array, classes: int, ignore_index: int | None = None) -> None:
    """Check class indices, since ONNX Runtime reads beyond its memory where one is out of range.

    Args:
        labels: of any shape, whole numbers.
        classes: how many there are.
        ignore_index: a label that is allowed besides.

    Raises:
        DataError: the first label that is none, with its row.
    """
    if not labels.size or (labels.min() >= 0 and labels.max() < classes):
        return
    wrong = (labels < 0) | (labels >= classes)
    if ignore_index is not None:
        wrong &= labels != ignore_index
    if not wrong.any():
        return
    place = np.unravel_index(int(wrong.argmax()), labels.shape)
    besides = "" if ignore_index is None else f", or {ignore_index} for what does not count"
    where = f" at {tuple(map(int, place[1:]))}" if len(place) > 1 else ""
    raise DataError(
        f"Label {labels[place]} of row {place[0]}{where} of the batch is out of range: expected 0 "
        f"to {classes - 1}{besides}."
    )

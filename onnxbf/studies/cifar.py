"""CIFAR-10 as its authors give it out: binary batches, or Python's."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxbf.errors import DataError
from onnxbf.studies.task import LABELS, Task

Array = NDArray[Any]
FILES: Sequence[str] = ("data_batch_1.bin", "data_batch_1")
SHAPE, CLASSES = (3, 32, 32), 10
_PIXELS = 3 * 32 * 32


class _Plain(pickle.Unpickler):
    """Reads what a batch is made of, and calls nothing else that a file may name."""

    _ALLOWED = frozenset({"_reconstruct", "ndarray", "dtype"})

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] == "numpy" and name in self._ALLOWED:
            return super().find_class(module, name)
        if (module, name) == ("_codecs", "encode"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def open_cifar(folder: Path) -> Task:
    """Images ``x`` (N, 3, 32, 32) from 0 to 1: data_batch_* to learn from, test_batch to test.

    Raises:
        DataError: a file is missing, or not of that form.
    """
    binary = (folder / FILES[0]).is_file()
    ending, read = (".bin", _read_binary) if binary else ("", _read_python)
    training = sorted(path for path in folder.glob(f"data_batch_*{ending}") if path.is_file())
    testing = folder / f"test_batch{ending}"
    if not testing.is_file():
        raise DataError(f"{str(folder)!r} lacks {testing.name}, the images to test on.")
    parts = [[read(path) for path in paths] for paths in (training, [testing])]
    return Task(*(_joined(part) for part in parts))


def _joined(batches: Sequence[tuple[Array, Array]]) -> dict[str, Array]:
    pixels, labels = (np.concatenate(each) for each in zip(*batches))
    images = pixels.reshape(-1, *SHAPE).astype(np.float32) / 255
    return {"x": images, LABELS: labels.astype(np.int64)}


def _read_binary(path: Path) -> tuple[Array, Array]:
    data = np.fromfile(path, np.uint8)
    if not data.size or data.size % (1 + _PIXELS):
        raise DataError(
            f"{str(path)!r} is no CIFAR-10 batch: expected a number of bytes that {1 + _PIXELS} "
            f"divides, a label and the pixels of each image, and found {data.size}."
        )
    rows = data.reshape(-1, 1 + _PIXELS)
    return _checked(path, rows[:, 1:], rows[:, 0])


def _read_python(path: Path) -> tuple[Array, Array]:
    try:
        with path.open("rb") as file:
            found = _Plain(file, encoding="bytes").load()
        pixels, labels = np.asarray(found[b"data"]), np.asarray(found[b"labels"])
    except (pickle.UnpicklingError, EOFError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{str(path)!r} is no CIFAR-10 batch: expected a pickled dictionary with data and "
            f"labels ({error})."
        ) from None
    return _checked(path, pixels, labels)


def _checked(path: Path, pixels: Array, labels: Array) -> tuple[Array, Array]:
    if pixels.shape != (len(labels), _PIXELS) or pixels.dtype != np.uint8:
        raise DataError(
            f"{str(path)!r} holds data {pixels.dtype}{list(pixels.shape)}: expected "
            f"uint8[{len(labels)}, {_PIXELS}], a row for each label."
        )
    if labels.min() < 0 or labels.max() >= CLASSES:
        raise DataError(f"{str(path)!r} has label {labels.max()}: expected 0 to {CLASSES - 1}.")
    return pixels, labels

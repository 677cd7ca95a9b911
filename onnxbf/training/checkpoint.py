"""Checkpoints: tensors and what else a run has to remember, in one safetensors file.

A file takes the place of the one before only once all of it is on the disk, so that whatever ends
the process, one of the two stands there whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxbf.errors import ModelError, OnnxbfError, UnsupportedError
from onnxbf.files import replacing

Array = NDArray[Any]

_NOTES = "onnxbf"  # the key of the file's metadata


class CheckpointNotWritten(OnnxbfError):
    """A checkpoint could not be written; the one before it stands as it was."""


def save_checkpoint(path: str | Path, tensors: Mapping[str, Array], notes: Any) -> None:
    """Write a checkpoint in place of the one at ``path``.

    Args:
        tensors: arrays by name.
        notes: anything that JSON holds; its numbers come back exactly.

    Raises:
        CheckpointNotWritten: the disk is full, or the folder is not there or not writable.
    """
    path = Path(path)
    save = _safetensors().numpy.save_file
    ordered = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    try:
        with replacing(path) as temporary:
            save(ordered, temporary, metadata={_NOTES: json.dumps(notes)})
            _flush(temporary)
    except (OSError, _safetensors().SafetensorError, ModelError) as error:
        stands = " The one before it is untouched." if path.is_file() else ""
        raise CheckpointNotWritten(
            f"The checkpoint {str(path)!r} could not be written: {_sentence(error)}.{stands} Make "
            "room, or name another folder."
        ) from None


def _sentence(error: Exception) -> str:
    return str(error).rstrip(".")


def _flush(path: Path) -> None:
    """Have the file on the disk before its name is given to it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def load_checkpoint(path: str | Path) -> tuple[dict[str, Array], Any]:
    """The tensors and the notes of a checkpoint.

    Raises:
        ModelError: there is no such file, or it is no checkpoint of onnxbf.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"There is no checkpoint {str(path)!r}.")
    library = _safetensors()
    try:
        with library.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except library.SafetensorError as error:
        raise ModelError(f"{str(path)!r} is not a checkpoint: {error}.") from None
    if _NOTES not in metadata:
        raise ModelError(f"{str(path)!r} was not written by onnxbf.")
    return tensors, json.loads(metadata[_NOTES])


def _safetensors() -> Any:
    try:
        import safetensors
        import safetensors.numpy
    except ImportError:
        raise UnsupportedError(
            "Checkpoints need the package safetensors: pip install 'onnxbf[training]'."
        ) from None
    return safetensors

"""The data of a run: opened from text, and fitted to the inputs of a model."""

from __future__ import annotations

import re
from pathlib import Path

from onnxbf.errors import DataError
from onnxbf.training.data_files import open_path
from onnxbf.training.data_iterable import open_function
from onnxbf.training.examples import Data
from onnxbf.training.matching import Match, check_labels, match_inputs

__all__ = ["Data", "Match", "check_labels", "match_inputs", "open_data"]

_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def open_data(text: str) -> Data:
    """The data that a text names.

    Args:
        text: an ``.npz`` or ``.npy`` file, a folder of ``.npy`` files, a folder that Hugging Face
            ``datasets`` saved, or ``module:function``; see docs/data.md.

    Raises:
        DataError: there is none of that name, or it cannot be read.
        UnsupportedError: a package is missing that reads it.
    """
    path = Path(text)
    if path.exists():
        return open_path(path)
    if _FUNCTION.fullmatch(text):
        return open_function(text)
    raise DataError(f"There is no data {text!r}: no such file or folder, and no module:function.")

"""Data that a function of the user's gives: ``module:function``."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from onnxbf.errors import DataError
from onnxbf.training.examples import Stream


def open_function(text: str) -> Stream:
    """The examples that a function returns; it is called anew for each epoch.

    Args:
        text: ``module:function``; modules of the current folder are found.

    Raises:
        DataError: no such module or function, or one that fails.
    """
    module, _, name = text.partition(":")
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        function = getattr(importlib.import_module(module), name, None)
    except Exception as error:  # whatever the user's module raises
        raise _failed(text, error) from error
    if not callable(function):
        raise DataError(f"Data {text!r}: module {module!r} has no function {name!r}.")
    return Stream(_guarded(text, function), f"Data {text!r}")


def _guarded(text: str, function: Callable[[], Iterable[Any]]) -> Callable[[], Iterator[Any]]:
    """The function, what it raises told as an error of ours."""

    def begin() -> Iterator[Any]:
        try:
            yield from function()
        except Exception as error:  # whatever the user's function raises
            raise _failed(text, error) from error

    return begin


def _failed(text: str, error: Exception) -> DataError:
    frames = traceback.extract_tb(error.__traceback__)
    last = [frame for frame in frames if not frame.filename.startswith("<frozen")][-1]
    return DataError(
        f"Data {text!r} fails with {type(error).__name__}: {error} ({last.filename}, line "
        f"{last.lineno})."
    )

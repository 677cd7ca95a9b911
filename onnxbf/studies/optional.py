"""Packages that studies alone need."""

from __future__ import annotations

import importlib
from typing import Any

from onnxbf.errors import RuntimeMissing


def needed(module: str) -> Any:
    """A module of the extra ``studies``.

    Raises:
        RuntimeMissing: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if (error.name or "").partition(".")[0] != package:
            raise
        raise RuntimeMissing(
            f"This study needs {package}, which is not installed: pip install 'onnxbf[studies]'."
        ) from None

"""Modules that run when something of them is first used, and not when they are imported."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

# onnx_ir imports sympy, a third of the time of all that a command imports, but uses it only where
# sizes with names are calculated with, for which this module of its own is there.
SYMBOLIC = ("sympy", "onnx_ir._symbolic_shapes")


@dataclass(frozen=True)
class Deferring(importlib.abc.MetaPathFinder):
    """Finds what the ordinary finder of files does, but for these names puts off its execution."""

    names: tuple[str, ...]

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self.names:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec


def defer(names: tuple[str, ...]) -> None:
    """Put off the modules of these names in this process, but for those imported already."""
    finder = Deferring(names)
    if finder not in sys.meta_path:
        sys.meta_path.insert(0, finder)

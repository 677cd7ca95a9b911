"""Emulate BF16, FP8 and other arithmetic in ONNX models, bit for bit, on an ordinary CPU.

Names load when they are used, so that ``import onnxbf`` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"

if TYPE_CHECKING:
    from onnxbf.comparison import Comparison, compare
    from onnxbf.custom_ops.numpy_api import quantize
    from onnxbf.errors import OnnxbfError
    from onnxbf.formats import Cast, NumberFormat, parse_cast, parse_format
    from onnxbf.passes.pipeline import convert
    from onnxbf.recipe import Recipe, Rule, load_recipe
    from onnxbf.report import Report
    from onnxbf.session import make_session, register_custom_ops, run

_HOMES = {
    "Cast": "formats",
    "Comparison": "comparison",
    "NumberFormat": "formats",
    "OnnxbfError": "errors",
    "Recipe": "recipe",
    "Report": "report",
    "Rule": "recipe",
    "compare": "comparison",
    "convert": "passes.pipeline",
    "load_recipe": "recipe",
    "make_session": "session",
    "parse_cast": "formats",
    "parse_format": "formats",
    "quantize": "custom_ops.numpy_api",
    "register_custom_ops": "session",
    "run": "session",
}

__all__ = [
    "Cast",
    "Comparison",
    "NumberFormat",
    "OnnxbfError",
    "Recipe",
    "Report",
    "Rule",
    "__version__",
    "compare",
    "convert",
    "load_recipe",
    "make_session",
    "parse_cast",
    "parse_format",
    "quantize",
    "register_custom_ops",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'onnxbf' has no attribute {name!r}")
    return getattr(importlib.import_module(f"onnxbf.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__

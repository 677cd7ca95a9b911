"""``onnxbf.__all__`` is sorted, complete and true."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import onnxbf

ROOT = Path(__file__).parents[2]


def test_names_are_sorted_and_each_stands_once() -> None:
    assert sorted(set(onnxbf.__all__)) == onnxbf.__all__


@pytest.mark.parametrize("name", onnxbf.__all__)
def test_every_name_resolves_and_has_a_docstring(name: str) -> None:
    found = getattr(onnxbf, name)
    assert name == "__version__" or found.__doc__


def test_type_checkers_see_the_same_names() -> None:
    """The imports under TYPE_CHECKING are those that ``__getattr__`` makes."""
    tree = ast.parse(Path(onnxbf.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    made = {
        name: getattr(onnxbf, name).__module__ for name in onnxbf.__all__ if name != "__version__"
    }
    assert seen == made


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = onnxbf.no_such_name


def test_names_stay_what_they_are_when_modules_load() -> None:
    """A submodule must not take the place of a public name that is spelled alike."""
    script = (
        "import onnxbf, types\n"
        "for _ in range(2):\n"
        "    for name in onnxbf.__all__:\n"
        "        assert not isinstance(getattr(onnxbf, name), types.ModuleType), name"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)

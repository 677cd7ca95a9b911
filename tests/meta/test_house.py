"""The house itself: what HOUSE-keeping no other tool does for us."""

from __future__ import annotations

import ast
import configparser
import subprocess
import sys
from pathlib import Path

import pytest

from onnxbf.custom_ops.library import INSTRUCTION_SET_VARIABLE, instruction_sets

ROOT = Path(__file__).parents[2]
LINKS = ("passes", "custom_ops", "cli")
PACKAGE = sorted(path for folder in ("onnxbf", *LINKS) for path in (ROOT / folder).rglob("*.py"))
KERNELS = sorted((ROOT / "custom_ops" / "csrc").rglob("*.*"))
LONGEST = 400  # lines


def _id(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("name", LINKS)
def test_links_are_relative_links(name: str) -> None:
    link = ROOT / "onnxbf" / name
    assert link.is_symlink()
    assert link.readlink() == Path("..", name)


def test_the_tree_was_found() -> None:
    assert len(PACKAGE) > 30
    assert len(KERNELS) > 10


@pytest.mark.parametrize("path", PACKAGE, ids=_id)
def test_every_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", PACKAGE, ids=_id)
def test_imports_are_absolute(path: Path) -> None:
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    assert not [node for node in nodes if isinstance(node, ast.ImportFrom) and node.level]


@pytest.mark.parametrize("path", [*PACKAGE, *KERNELS], ids=_id)
def test_no_file_is_long(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST


def test_ort_is_known_to_one_header() -> None:
    """The C ABI of ONNX Runtime is declared in ort_abi.h, and only csrc/ops reads it."""
    readers = {path for path in KERNELS if "ort_abi.h" in path.read_text(encoding="utf-8")}
    assert readers
    allowed = {ROOT / "custom_ops" / "csrc" / name for name in ("ort_abi.h", "register.cc")}
    assert {path for path in readers if path.parent.name != "ops"} <= allowed


def test_the_architecture_shows_the_layers_that_are_checked() -> None:
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    checked = settings["importlinter:contract:layers"]["layers"].split("\n")[1:]
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    shown = [line.strip() for line in page.splitlines()]
    start = shown.index(checked[0])
    assert shown[start : start + len(checked)] == checked


def test_nothing_is_importable_at_top_level() -> None:
    """An installed onnxbf brings one name; the folders at the root are no packages of their own."""
    find = (
        "from importlib.util import find_spec as f; print(f('passes'), f('custom_ops'), f('cli'))"
    )
    found = subprocess.run(
        [sys.executable, "-P" if sys.version_info >= (3, 11) else "-I", "-c", find],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == ["None"] * 3


def test_the_base_import_is_light() -> None:
    """``import onnxbf`` and ``onnxbf --help`` load neither NumPy nor ONNX."""
    script = (
        "import sys, onnxbf, onnxbf.cli.main\n"
        "heavy = {'numpy', 'onnx', 'onnx_ir', 'onnxruntime', 'rich'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"


def test_the_environment_variable_is_documented() -> None:
    text = (ROOT / "docs" / "custom_operators.md").read_text(encoding="utf-8")
    assert f"`{INSTRUCTION_SET_VARIABLE}`" in text
    assert all(f"`{name}`" in text for name in instruction_sets())

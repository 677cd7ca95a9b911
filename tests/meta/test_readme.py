"""What the README shows is what happens.

A fenced block right below a line ``<!-- run -->`` is run, in a folder that holds an exported ResNet
as ``model.onnx``; later blocks find what earlier ones wrote. A ``python`` block must end without an
error; a ``pycon`` block must pass as a doctest. In a ``console`` block each line after ``$ `` is a
command, and the lines below it are what it must print: the same words and whole numbers. Numbers
with a decimal point are measured, and may differ from one CPU to the next. A line ``...`` stands
for any lines.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "tests" / "models" / "torch_resnet.onnx"
_BLOCK = re.compile(
    r"^<!-- run -->\n```(console|python|pycon)\n(.*?)^```$", re.MULTILINE | re.DOTALL
)
_MEASURED = re.compile(r"-?\d+\.\d+(e[-+]\d+)?")


class Block(NamedTuple):
    """One fenced block that is run."""

    language: str
    text: str


BLOCKS = [Block(*match) for match in _BLOCK.findall((ROOT / "README.md").read_text("utf-8"))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("readme")
    shutil.copy(MODEL, made / "model.onnx")
    return made


def test_the_readme_runs_something() -> None:
    assert {block.language for block in BLOCKS} == {"console", "python", "pycon"}


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.text.splitlines()[0])
def test_block(block: Block, folder: Path) -> None:
    if block.language == "python":
        _run([sys.executable, "-c", block.text], folder)
        return
    if block.language == "pycon":
        (folder / "session.txt").write_text(block.text, encoding="utf-8")
        _run([sys.executable, "-m", "doctest", "session.txt"], folder)
        return
    for command, expected in _commands(block.text):
        words = shlex.split(command)
        assert words[0] == "onnxbf"
        printed = _run([sys.executable, "-m", *words], folder)
        assert re.fullmatch(_pattern(expected), _plain(printed)), printed


def _run(command: list[str], folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _commands(text: str) -> list[tuple[str, list[str]]]:
    """Each command of a console block, and the lines it is to print."""
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def _pattern(lines: list[str]) -> str:
    """A regular expression for what ``_plain`` leaves of the output."""
    return "".join(r"(?:.*\n)*" if line == "..." else re.escape(_plain(line)) for line in lines)


def _plain(text: str) -> str:
    """The text without what may differ: measured numbers, and how columns are spaced."""
    lines = (" ".join(_MEASURED.sub("N.N", line).split()) for line in text.splitlines())
    return "".join(f"{line}\n" for line in lines) or "\n"

"""Rewriting as text: each ``*.txt`` holds options, a model, a line of dashes, and the result.

``pytest tests/golden --update-golden`` writes the results anew; read the difference before you
commit it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest

from onnxbf.passes.pipeline import convert

FOLDER = Path(__file__).parent
CASES = sorted(FOLDER.glob("*.txt"))
RULE = "-" * 78


def test_there_are_cases() -> None:
    assert len(CASES) >= 10


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_golden(path: Path, request: pytest.FixtureRequest) -> None:
    options, source, expected = _read(path)
    converted, report = convert(onnx.parser.parse_model(source), **options)
    onnx.checker.check_model(converted)
    found = f"{_print(converted)}\n{report}\n"
    if request.config.getoption("--update-golden"):
        head = "".join(f"{line}\n" for line in path.read_text().splitlines() if line[:2] == "# ")
        path.write_text(f"{head}{source.strip()}\n{RULE}\n{found}", encoding="utf-8")
        return
    assert found == expected


def _read(path: Path) -> tuple[dict[str, Any], str, str]:
    text, _, expected = path.read_text(encoding="utf-8").partition(f"{RULE}\n")
    lines = text.splitlines()
    options = dict(line[2:].split(" = ", 1) for line in lines if line.startswith("# "))
    source = "\n".join(line for line in lines if not line.startswith("# "))
    return {key: eval(value, {"HERE": FOLDER}) for key, value in options.items()}, source, expected


def _print(model: onnx.ModelProto) -> str:
    """The model as text, without the types of inner values and the bookkeeping of roles."""
    for part in (model.graph, *model.functions):
        del part.value_info[:]
    text: str = onnx.printer.to_text(model)
    return text

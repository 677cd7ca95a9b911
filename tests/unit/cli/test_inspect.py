"""``onnxbf inspect``: operators by class, what a recipe would round, and why it would not."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner, Result

from onnxbf.cli.main import group

_TEXT = """<ir_version: 8, opset_import: ["" : 17, "my.own" : 1]>
g (float[2,2] x, float[2,2] w) => (float[2,2] y) {
  p = MatMul (x, w)
  q = Transpose (p)
  y = my.own.Foo (q)
}"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = onnx.parser.parse_model(_TEXT)
    model.graph.node[2].op_type = "Foo[/b]"  # which a terminal would take for an end of bold text
    onnx.save(model, "m.onnx")


def _inspect(*arguments: str) -> Result:
    return CliRunner().invoke(group, ["inspect", "m.onnx", *arguments], prog_name="onnxbf")


def test_text() -> None:
    result = _inspect()
    assert result.exit_code == 0
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in result.stdout.splitlines()}
    assert rows["MatMul"] == "gemm 1 1"
    assert rows["Transpose"] == "movement 1 0 only moves or selects values"
    assert rows["Foo[/b]"] == "other 1 0 not arithmetic, or unknown to onnxbf"


def test_json() -> None:
    found = json.loads(_inspect("--json", "--recipe", "none").stdout)
    reasons = {row["op_type"]: row["left_alone"] for row in found["operators"]}
    assert reasons["MatMul"] == {"no rule of the recipe matches": 1}
    assert found["opset"] == 17


def test_arithmetics_have_a_column_where_there_are_any() -> None:
    assert "arithmetic" not in _inspect("--recipe", "none").stdout.splitlines()[1]
    lines = _inspect("--recipe", "avx512-bf16").stdout.splitlines()
    assert "arithmetic" in lines[1]
    (row,) = (line.split() for line in lines if line.split()[:1] == ["MatMul"])
    assert row == ["MatMul", "gemm", "1", "1", "avx512_bf16"]

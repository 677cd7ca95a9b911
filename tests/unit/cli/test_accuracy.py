"""``onnxbf accuracy``: its table, its file and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner, Result

from onnxbf.cli.main import group
from tests.unit.test_accuracy import perceptron


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx.save(perceptron(), tmp_path / "mlp.onnx")
    monkeypatch.chdir(tmp_path)


def _accuracy(*arguments: str) -> Result:
    return CliRunner().invoke(group, ["accuracy", "mlp.onnx", *arguments])


def test_a_row_for_each_layer_and_output() -> None:
    result = _accuracy("--profiles", "fp32,chunked{size=8,outer=e4m3}", "--json", "a.json")
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.stdout.splitlines()]
    first, second, end = (
        next(row for row in rows if row[:1] == [name]) for name in ("make_hidden", "make_y", "y")
    )
    assert first[1:3] == ["MatMul", "50"] and second[1:3] == ["Gemm", "20"]
    assert end[1] == "output"
    assert float(first[3]) < 1e-6 < float(first[4])
    assert "operands in bf16:rne" in result.stdout
    data = json.loads(Path("a.json").read_text())
    assert [layer["name"] for layer in data["layers"]] == ["make_hidden", "make_y"]


def test_the_same_seed_gives_the_same_table() -> None:
    texts = [_accuracy("--profiles", "sequential{rounding=sr}", "--seed", s).stdout for s in "112"]
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--profiles", "avx512_bf61"], "did you mean 'avx512_bf16'"),
        (["--profiles", "chunked{size=0}"], "size of chunked"),
        (["--operands", "bf61"], "did you mean 'bf16'"),
        (["--inputs", "none.npz"], "No such file"),
        (["--json", "nowhere/a.json"], "there is no folder 'nowhere'"),
    ],
)
def test_refusals(arguments: list[str], told: str) -> None:
    result = _accuracy(*arguments)
    assert result.exit_code == 2
    assert told in result.stderr.splitlines()[-1]
    assert not Path("a.json").exists()

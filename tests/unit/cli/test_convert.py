"""``onnxbf convert``: what it refuses, in one sentence, with nothing written; what it warns of."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result

from onnxbf.cli.main import group

_TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[2,2] x) => (float[2,2] y) { y = MatMul (x, w) }
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    model = onnx.parser.parse_model(_TEXT)
    model.graph.node[0].name = "product"
    weights = np.full((2, 2), 1.01, np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    onnx.save(model, tmp_path / "m.onnx")
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _convert(*arguments: str) -> Result:
    return CliRunner().invoke(group, ["convert", *arguments], prog_name="onnxbf")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["no.onnx"], "there is no such file"),
        ([""], "that is a folder"),
        (["folder"], "that is a folder"),
        (["-"], "there is no such file"),
        (["n" * 300 + ".onnx"], "there is no such file"),
        (["bad\udcff.onnx"], "there is no such file"),
        (["m.onnx", "-o", "m.onnx"], "is the model itself: name another with -o, or use --force"),
        (["m.onnx", "-o", "folder/../m.onnx"], "is the model itself"),
        (["m.onnx", "-o", "folder"], "it is a folder"),
        (["m.onnx", "-o", "nowhere/o.onnx"], "there is no folder 'nowhere'"),
        (["m.onnx", "-o", "n" * 300 + ".onnx"], "File name too long"),
        (["m.onnx", "-o", "bad\udcff.onnx"], "no UTF-8 text"),
        (["m.onnx", "-o", "pipe"], "it is not a file"),
        (["m.onnx", "-o", "o.onnx", "--report", "nowhere/r.json"], "there is no folder 'nowhere'"),
        (["m.onnx", "-o", "o.onnx", "--report", "o.onnx"], "is a model, too"),
        (["m.onnx", "--report", "m.onnx"], "is a model, too"),
        (["m.onnx", "--recipe", "bf61"], "did you mean 'bf16'"),
        (["m.onnx", "--op-types", "MatMull"], "did you mean 'MatMul'"),
        (["m.onnx", "--store-weights", "bf17"], "did you mean 'bf16'"),
        (["m.onnx", "--store-weights", "e3m4"], "ONNX has no tensor type for e3m4"),
        (["m.onnx", "--include", "(["], "is not a regular expression"),
        (["m.onnx", "--seed", "-1"], "not in the range"),
        (["m.onnx", "--seed", str(2**63)], "not in the range"),
    ],
)
def test_refusals(folder: Path, arguments: list[str], told: str) -> None:
    os.mkfifo("pipe")
    before = sorted(folder.rglob("*"))
    result = _convert(*arguments)
    assert result.exit_code == 2
    assert told in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("this is = not", "is not TOML"),
        ("rules = 3", "rules must be tables"),
        ("name = 3", "name is text, not 3"),
        ('name = "../x"', "becomes part of file names"),
        ("[[rules]]\nops = 7", "ops must be a list"),
        ('[[rules]]\nops = ["MatMull"]', "did you mean 'MatMul'"),
        ('[[rules]]\nname = "(["', "is not a regular expression"),
        ("[[rules]]\nname = 7", "is a regular expression, not 7"),
        ("[[rules]]\ninputs = 7", "a cast is text"),
        ('[[rules]]\ninputs = "bf16:rnd"', "did you mean"),
        ('[[rules]]\ninput = "bf16"', "did you mean 'inputs'"),
        ('[[rules]]\nphase = "backwards"', "Unknown phase"),
    ],
)
def test_recipe_files_that_make_no_sense(folder: Path, text: str, told: str) -> None:
    Path("r.toml").write_text(text)
    result = _convert("m.onnx", "-o", "o.onnx", "--recipe", "r.toml")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: Recipe 'r.toml'") and told in result.stderr
    assert result.stderr.count("\n") == 1
    assert not Path("o.onnx").exists()


@pytest.mark.parametrize(
    ("option", "warning"),
    [
        (("--include", "nothing"), "--include 'nothing' matches no node's name."),
        (("--exclude", "nothing"), "--exclude 'nothing' matches no node's name."),
        (("--op-types", "Conv"), "--op-types Conv: the model has no such node."),
    ],
)
def test_what_matches_nothing_is_a_warning(option: tuple[str, str], warning: str) -> None:
    result = _convert("m.onnx", *option)
    assert result.exit_code == 0
    assert f"Warning: {warning}" in result.stderr


def test_a_converted_model_stays_as_it_is() -> None:
    assert _convert("m.onnx").exit_code == 0
    result = _convert("m.bf16.onnx", "-o", "again.onnx", "--recipe", "fp8")
    assert "Already converted with recipe 'bf16'" in result.stdout
    assert Path("again.onnx").read_bytes() == Path("m.bf16.onnx").read_bytes()


def test_force_and_report() -> None:
    result = _convert("m.onnx", "-o", "m.onnx", "--force", "--report", "r.json")
    assert result.exit_code == 0
    assert len(json.loads(Path("r.json").read_text())["changes"]) == 3
    assert [node.op_type for node in onnx.load("m.onnx").graph.node].count(
        "QuantizeDequantize"
    ) == 3

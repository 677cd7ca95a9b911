"""``onnxbf compare``: exit codes, how outputs are matched, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result

from onnxbf.cli.main import group
from onnxbf.passes.pipeline import convert


def _save(path: str, outputs: str, body: str) -> None:
    text = f"""<ir_version: 8, opset_import: ["" : 17]>
    g (float[2,3] x) => ({outputs}) {{ {body} }}"""
    onnx.save(onnx.parser.parse_model(text), path)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _save("a.onnx", "float[2,3] y, float[3,2] z", "y = Tanh (x) z = Transpose (x)")


def _compare(*arguments: str) -> Result:
    return CliRunner().invoke(group, ["compare", *arguments], prog_name="onnxbf")


def _pairs(other: str) -> tuple[int, list[tuple[str, str]]]:
    result = _compare("a.onnx", other, "--json", "d.json")
    found = json.loads(Path("d.json").read_text())
    return result.exit_code, [(t["a"], t["b"]) for t in found["tensors"]]


def test_outputs_are_matched_by_name_before_order() -> None:
    _save("b.onnx", "float[3,2] z, float[2,3] y", "y = Tanh (x) z = Transpose (x)")
    assert _pairs("b.onnx") == (0, [("y", "y"), ("z", "z")])


def test_other_names_are_matched_by_order_and_shape() -> None:
    _save("b.onnx", "float[3,2] p, float[2,3] q", "q = Tanh (x) p = Transpose (x)")
    assert _pairs("b.onnx") == (0, [("y", "q"), ("z", "p")])


def test_beyond_the_tolerance_is_exit_code_1() -> None:
    _save("b.onnx", "float[2,3] y, float[3,2] z", "y = Sin (x) z = Transpose (x)")
    result = _compare("a.onnx", "b.onnx")
    assert result.exit_code == 1
    assert "differ beyond what rounding to fp32 explains" in result.stdout


@pytest.mark.parametrize(
    ("recipe", "named"),
    [
        ("bf16", "bf16"),
        ("fp8-delayed", "scaled e4m3fn"),
        ("mxfp4", "mxfp4"),
        ("fqt-ptq{forward=3}", "3-bit integers"),
    ],
)
def test_the_verdict_names_what_numbers_are_rounded_to(recipe: str, named: str) -> None:
    body = "<float[3,3] w = {1,2,3,4,5,6,7,8,9}> { y = MatMul (x, w) }"
    text = f"""<ir_version: 8, opset_import: ["" : 17]> g (float[2,3] x) => (float[2,3] y) {body}"""
    converted, _ = convert(onnx.parser.parse_model(text), recipe)
    onnx.save(onnx.parser.parse_model(text), "b.onnx")
    onnx.save(converted, "c.onnx")
    assert f"what rounding to {named} explains" in _compare("b.onnx", "c.onnx").stdout


def test_an_output_without_a_partner_is_exit_code_1() -> None:
    _save("b.onnx", "float[2,3] y", "y = Tanh (x)")
    result = _compare("a.onnx", "b.onnx")
    assert result.exit_code == 1
    assert "Output 'z' has no partner" in result.stdout


def test_numbers_that_are_none_are_counted() -> None:
    _save("b.onnx", "float[2,3] y, float[3,2] z", "s = Sub (x, x) y = Div (s, s) z = Transpose (x)")
    result = _compare("a.onnx", "b.onnx")
    assert result.exit_code == 1
    assert "6 x NaN or infinite" in result.stdout


def test_names_are_no_markup() -> None:
    model = onnx.load("a.onnx")
    model.graph.node[0].output[0] = model.graph.output[0].name = "y[/b]"
    onnx.save(model, "b.onnx")
    for other, code in (("b.onnx", 0), ("a.onnx", 0)):
        result = _compare("b.onnx", other)
        assert result.exit_code == code
        assert "y[/b]" in result.stdout


def test_the_same_seed_gives_the_same_inputs() -> None:
    _save("b.onnx", "float[2,3] y, float[3,2] z", "y = Sin (x) z = Transpose (x)")
    one, again, other = (_compare("a.onnx", "b.onnx", "--seed", s).stdout for s in "112")
    assert one == again != other


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["no.onnx"], "there is no such file"),
        (["a.onnx", "--json", "nowhere/d.json"], "there is no folder 'nowhere'"),
        (["a.onnx", "--seed", "-1"], "not in the range"),
        (["a.onnx", "--threads", "0"], "not in the range"),
        (["a.onnx", "--inputs", "no.npz"], "No such file"),
        (["a.onnx", "--inputs", "array.npy"], "no .npz file"),
        (["a.onnx", "--inputs", "a.onnx"], "Cannot read inputs"),
        (["a.onnx", "--inputs", "names.npz"], "has no array 'x'"),
        (["a.onnx", "--inputs", "types.npz"], "float64, but the model expects"),
        (["a.onnx", "--inputs", "shapes.npz"], "index: 1 Got: 9 Expected: 3"),
    ],
)
def test_refusals(arguments: list[str], told: str) -> None:
    np.save("array.npy", np.ones((2, 3), np.float32))
    np.savez("names.npz", z=np.ones((2, 3), np.float32))
    np.savez("types.npz", x=np.ones((2, 3)))
    np.savez("shapes.npz", x=np.ones((2, 9), np.float32))
    result = _compare("a.onnx", *arguments)
    assert result.exit_code == 2
    assert told in result.stderr.splitlines()[-1]

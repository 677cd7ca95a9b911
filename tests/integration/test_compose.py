"""Two models in one compute what both compute, and one loss trains both."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from onnxbf.cli.main import group
from onnxbf.errors import ModelError, SpecError
from onnxbf.files import load_model, save_model
from onnxbf.protos import to_proto
from onnxbf.session import make_session, run
from onnxbf.training.composition import compose
from tests.implementations import same_bits
from tests.runtime import needs_training

MODELS = Path(__file__).parents[1] / "models"
# A small network, one with functions, one with subgraphs, one of another opset and batch size.
NAMES = ("torch_cnn", "jax_transformer_functions", "torch_control_flow", "keras_lstm")


def _inputs(name: str) -> dict[str, np.ndarray]:
    saved = np.load(MODELS / f"{name}.npz")
    return {key.split("/", 1)[1]: saved[key] for key in saved if key.startswith("input/")}


def _run(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return run(make_session(model.SerializeToString(), threads=1, optimize=False), feeds)


@pytest.mark.parametrize(
    ("first", "second"), [*itertools.combinations(NAMES, 2), ("torch_cnn", "torch_cnn")]
)
def test_both_compute_what_they_did(first: str, second: str, tmp_path: Path) -> None:
    parts = [load_model(MODELS / f"{name}.onnx") for name in (first, second)]
    both = compose(*parts, names=("a", "b"))
    save_model(both, tmp_path / "both.onnx")
    onnx.checker.check_model(tmp_path / "both.onnx", full_check=True)
    feeds, expected, taken = {}, {}, {value.name for value in both.graph.inputs}
    given = {value.name for value in both.graph.outputs}
    for name, prefix, part in zip((first, second), ("a", "b"), parts):
        own = _inputs(name)
        feeds |= {key if key in taken else f"{prefix}/{key}": own[key] for key in own}
        for key, array in _run(to_proto(part), own).items():
            expected[key if key in given else f"{prefix}/{key}"] = array
    found = _run(to_proto(both), feeds)
    assert found.keys() == expected.keys()
    for key, array in expected.items():
        assert same_bits(found[key], array), key
    weights = both.graph.initializers.values()
    assert all((value.name or "").startswith(("a/", "b/")) for value in weights)


def test_models_stay_as_they_are_and_batches_are_one() -> None:
    model = load_model(MODELS / "torch_bert.onnx")
    before = to_proto(model).SerializeToString(deterministic=True)
    both = compose(model, model)
    assert to_proto(model).SerializeToString(deterministic=True) == before
    shapes = {value.name: str(value.shape) for value in both.graph.inputs}
    assert shapes["first/input_ids"] == "[batch,first/length]"
    assert shapes["second/input_ids"] == "[batch,second/length]"


@pytest.mark.parametrize("names", [("a", "a"), ("a",), ("a", "b/c"), ("a", "")])
def test_names_that_are_not_two(names: tuple[str, ...]) -> None:
    model = load_model(MODELS / "torch_cnn.onnx")
    with pytest.raises(SpecError, match="two names"):
        compose(model, model, names)


def test_two_versions_of_a_domain() -> None:
    parts = [load_model(MODELS / "torch_cnn.onnx") for _ in range(2)]
    for version, part in enumerate(parts, 1):
        part.graph.opset_imports["some.domain"] = version
    with pytest.raises(ModelError, match=r"versions 1 and 2 of domain 'some\.domain'"):
        compose(*parts)


def _compose(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(group, ["compose", *map(str, arguments)])
    return result.exit_code, result.output


def test_the_command(tmp_path: Path) -> None:
    cnn, out = MODELS / "torch_cnn.onnx", tmp_path / "both.onnx"
    code, text = _compose(cnn, cnn, "-o", out, "--names", "image,text", "--loss", "info-nce")
    assert code == 0, text
    assert "Inputs: image/images, text/images" in text
    assert "Outputs: image/output0, text/output0, loss" in text
    images = _inputs("torch_cnn")["images"]
    feeds = {"image/images": images, "text/images": images}
    found = _run(onnx.load(out), feeds)
    u = found["image/output0"].astype(np.float64)
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    logits = u @ u.T / 0.5
    expected = np.mean(np.log(np.exp(logits).sum(1)) - np.diag(logits))
    assert found["loss"] == pytest.approx(expected, rel=1e-5)


def test_what_the_command_refuses(tmp_path: Path) -> None:
    cnn, out = MODELS / "torch_cnn.onnx", tmp_path / "both.onnx"
    copy = tmp_path / "cnn.onnx"
    copy.write_bytes(cnn.read_bytes())
    for arguments, message in (
        ((copy, cnn, "-o", copy), "is one of the models"),
        ((cnn, cnn, "-o", out, "--names", "a"), "two names"),
        ((cnn, cnn, "-o", out, "--outputs", "x"), "name that with --loss"),
        ((cnn, cnn, "-o", out, "--loss", "info-nse"), "did you mean 'info-nce'"),
        ((cnn, tmp_path / "none.onnx", "-o", out), "none.onnx"),
    ):
        code, text = _compose(*arguments)
        assert code == 2 and message in text, text
    assert not out.exists() and copy.read_bytes() == cnn.read_bytes()


@needs_training
def test_training_both(tmp_path: Path) -> None:
    cnn, out = MODELS / "torch_cnn.onnx", tmp_path / "both.onnx"
    assert _compose(cnn, cnn, "-o", out)[0] == 0
    rng = np.random.default_rng(0)
    views = rng.normal(size=(8, 3, 16, 16)).astype(np.float32)
    np.savez(tmp_path / "pairs.npz", **{"first/images": views, "second/images": views[:, ::-1]})
    data = str(tmp_path / "pairs.npz")
    arguments = ["train", str(out), "--data", data, "--validation", data, "--loss", "info-nce"]
    more = ["--epochs", "2", "--batch-size", "8", "-o", str(tmp_path / "run")]
    result = CliRunner().invoke(group, [*arguments, *more])
    assert result.exit_code == 0, result.output
    assert "retrieval" in result.output

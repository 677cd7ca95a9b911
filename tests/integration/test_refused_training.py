"""What cannot be trained in the exported models is refused in one sentence; the rest trains."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto

from onnxbf.cli.main import group
from tests.networks import write_data, write_mlp
from tests.runtime import needs_training

pytestmark = needs_training
FOLDER = Path(__file__).parents[1] / "models"


def _other_outputs() -> list[tuple[str, str]]:
    """The tensors that are not of floating point among the outputs of all models."""
    found = []
    for path in sorted(FOLDER.glob("*.onnx")):
        for value in onnx.load(path).graph.output:
            kind = value.type.tensor_type.elem_type
            if kind not in (TensorProto.UNDEFINED, TensorProto.FLOAT, TensorProto.DOUBLE):
                found.append((path.stem, value.name))
    return found


def _run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(group, [*map(str, arguments)], prog_name="onnxbf")


@pytest.mark.parametrize(("model", "output"), _other_outputs())
@pytest.mark.parametrize("option", ["--loss mse --outputs {}", "--loss output{{name={}}}"])
def test_a_loss_of_another_type_is_refused(
    model: str, output: str, option: str, tmp_path: Path
) -> None:
    options = option.format(output).split()
    result = _run("artifacts", FOLDER / f"{model}.onnx", *options, "-o", tmp_path / "made")
    assert isinstance(result.exception, SystemExit) and result.exit_code == 2
    assert f"Output {output!r} is" in result.stderr and "float32" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "made").exists()


def test_a_classifier_that_ends_in_maps_is_trained(tmp_path: Path) -> None:
    model = FOLDER / "sklearn_mlp_zipmap.onnx"
    features = np.load(model.with_suffix(".npz"))["input/features"]
    np.savez(tmp_path / "data.npz", features=features, labels=np.arange(len(features)) % 3)
    result = _run(
        *("train", model, "--data", tmp_path / "data.npz", "--validation", tmp_path / "data.npz"),
        *("--epochs", 30, "--schedule", 0.05, "--recipe", "none", "-o", tmp_path / "run"),
    )
    assert result.exit_code == 0, result.output
    results = (tmp_path / "run" / "results.json").read_text()
    assert '"accuracy"' in results


def test_a_classifier_of_weights_in_attributes_is_refused(tmp_path: Path) -> None:
    model = FOLDER / "sklearn_logistic_zipmap.onnx"
    result = _run("artifacts", model, "--loss", "mse", "-o", tmp_path / "made")
    assert isinstance(result.exception, SystemExit) and result.exit_code == 2
    assert "no float32 initializers" in result.stderr


def test_what_the_loss_does_not_depend_on_is_not_trained_and_said_so(tmp_path: Path) -> None:
    model = FOLDER / "torch_gru.onnx"
    options = ("--loss", "mse", "--outputs", "output1", "--recipe", "none")
    result = _run("artifacts", model, *options, "-o", tmp_path / "made")
    assert result.exit_code == 0, result.output
    assert "does not depend on them: norm.weight, norm.bias, head.bias" in result.stderr


def test_the_initial_state_of_a_recurrent_layer_is_data(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    sizes = {"series": (6, 7, 6), "state": (6, 1, 20), "labels": (6, 7, 1)}
    arrays = {name: random.normal(size=size).astype(np.float32) for name, size in sizes.items()}
    np.savez(tmp_path / "data.npz", **arrays)
    data = tmp_path / "data.npz"
    options = ("--loss", "mse", "--outputs", "output0", "--batch-size", "2", "--validation", data)
    model = FOLDER / "torch_gru.onnx"
    result = _run("train", model, "--data", data, *options, "-o", tmp_path / "run")
    assert result.exit_code == 0, result.output
    results = (tmp_path / "run" / "results.json").read_text()
    assert '"validation_loss"' in results and "NaN" not in results


def test_contrast_of_outputs_of_two_shapes_is_refused(tmp_path: Path) -> None:
    model = FOLDER / "torch_gru.onnx"
    result = _run("artifacts", model, "--loss", "info-nce", "-o", tmp_path / "made")
    assert isinstance(result.exception, SystemExit) and result.exit_code == 2
    assert "'output0' is of shape [2,7,1]" in result.stderr


def test_data_that_are_not_finite_are_named(tmp_path: Path) -> None:
    write_mlp(tmp_path / "mlp.onnx")
    write_data(tmp_path / "data.npz", 64, 1)
    arrays = dict(np.load(tmp_path / "data.npz"))
    arrays["x"][40, 3] = np.nan
    np.savez(tmp_path / "data.npz", **arrays)
    options = ("--data", tmp_path / "data.npz", "--recipe", "none", "-o", tmp_path / "run")
    result = _run("train", tmp_path / "mlp.onnx", *options)
    assert isinstance(result.exception, SystemExit) and result.exit_code == 2
    assert "input 'x' of its batch holds numbers that are not finite" in result.stderr


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (("other_mlp", "bf16"), "of another network: Tensor 'w1' of the state is missing"),
        (("mlp", "none"), "of another run, of none"),
    ],
)
def test_a_checkpoint_of_another_model_or_recipe_is_refused(
    other: tuple[str, str], told: str, tmp_path: Path
) -> None:
    write_mlp(tmp_path / "mlp.onnx")
    renamed = onnx.load(tmp_path / "mlp.onnx")
    for node in (*renamed.graph.node, *renamed.graph.initializer):
        if isinstance(node, onnx.NodeProto):
            node.input[:] = [name.replace("w1", "v1") for name in node.input]
        else:
            node.name = node.name.replace("w1", "v1")
    onnx.save(renamed, tmp_path / "other_mlp.onnx")
    write_data(tmp_path / "data.npz", 64, 1)
    for folder, (model, recipe) in (("mine", ("mlp", "bf16")), ("other", other)):
        result = _run(
            *("train", tmp_path / f"{model}.onnx", "--data", tmp_path / "data.npz"),
            *("--recipe", recipe, "-o", tmp_path / folder),
        )
        assert result.exit_code == 0, result.output
    name = Path("seed-0", "checkpoint.safetensors")
    shutil.copy(tmp_path / "other" / name, tmp_path / "mine" / name)
    result = _run("train", "--resume", "--epochs", 2, "-o", tmp_path / "mine")
    assert isinstance(result.exception, SystemExit) and result.exit_code == 2
    assert told in result.stderr and "begin a new one" in result.stderr


def test_a_batch_that_a_quantizer_cannot_take_is_refused(tmp_path: Path) -> None:
    model = write_mlp(tmp_path / "mlp.onnx")
    data = write_data(tmp_path / "data.npz", 8, 1)
    options = ("--recipe", "fqt-bhq", "--batch-size", 1, "-o", tmp_path / "run")
    result = _run("train", model, "--data", data, *options)
    assert isinstance(result.exception, SystemExit) and result.exit_code == 2
    assert "QuantizeRange node" in result.stderr and "needs 2 samples" in result.stderr

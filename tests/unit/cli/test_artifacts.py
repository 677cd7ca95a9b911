"""``onnxbf artifacts``: what it writes, says and refuses; how it trains is tests/integration's."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from onnxbf.cli.main import group
from tests.runtime import TRAINS, needs_training

MODEL = Path(__file__).parents[2] / "models" / "torchscript_resnet.onnx"
FILES = {"training_model.onnx", "eval_model.onnx", "optimizer_model.onnx", "checkpoint"}


def _run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(group, ["artifacts", *map(str, arguments)], prog_name="onnxbf")


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@needs_training
def test_it_writes_four_files_and_says_how_to_use_them(tmp_path: Path) -> None:
    made = tmp_path / "made"
    result = _run(MODEL, "--loss", "cross-entropy", "-o", made)
    assert result.exit_code == 0, result.output
    assert _names(made) == FILES
    assert _names(tmp_path) == {"made"}
    assert "Recipe 'bf16':" in result.stdout
    assert "8 running statistics" in result.stdout
    assert "Module takes: images, labels; gives: loss, output0." in result.stdout


@needs_training
def test_files_are_replaced_by_force_alone(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").write_text("mine")
    refused = _run(MODEL, "--loss", "cross-entropy", "-o", tmp_path)
    assert (refused.exit_code, _names(tmp_path)) == (2, {"checkpoint"})
    assert "--force" in refused.stderr
    forced = _run(MODEL, "--loss", "cross-entropy", "-o", tmp_path, "--force")
    assert (forced.exit_code, _names(tmp_path)) == (0, FILES)


@needs_training
def test_a_training_model_is_refused(tmp_path: Path) -> None:
    made = tmp_path / "made"
    assert _run(MODEL, "--loss", "cross-entropy", "--recipe", "none", "-o", made).exit_code == 0
    result = _run(made / "training_model.onnx", "--loss", "cross-entropy", "-o", tmp_path / "b")
    assert result.exit_code == 2
    assert "holds gradients already" in result.stderr
    assert _names(tmp_path) == {"made"}


@needs_training
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--loss", "cross-entropy", "--optimizer", "lamb"), "These work: sgd"),
        (("--loss", "cross-entropie"), "did you mean 'cross-entropy'"),
        (("--loss", "cross-entropy", "--outputs", "nothing"), "nothing"),
        (("--loss", "cross-entropy", "--freeze", "."), "no trainable parameters"),
        (("--loss", "cross-entropy", "--recipe", "bf15"), "bf15"),
        (("--loss", "output"), "is no loss"),
    ],
)
def test_refusals_leave_nothing_behind(
    arguments: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    result = _run(MODEL, *arguments, "-o", tmp_path / "made")
    assert result.exit_code == 2
    assert told in result.stderr
    assert "Traceback" not in result.output
    assert _names(tmp_path) == set()


@needs_training
def test_places_that_are_no_folders(tmp_path: Path) -> None:
    file = tmp_path / "file"
    shutil.copy(MODEL, file)
    for target, told in ((file, "is a file"), (tmp_path / "no" / "made", "no folder")):
        result = _run(MODEL, "--loss", "cross-entropy", "-o", target)
        assert result.exit_code == 2
        assert told in result.stderr
    assert file.read_bytes() == MODEL.read_bytes()


@pytest.mark.skipif(TRAINS, reason="this ONNX Runtime trains")
def test_a_runtime_without_training_is_told(tmp_path: Path) -> None:
    result = _run(MODEL, "--loss", "cross-entropy", "-o", tmp_path / "made")
    assert result.exit_code == 2
    assert "cannot train" in result.stderr
    assert _names(tmp_path) == set()

"""A model that takes a flag is trained with a constant for it, and still takes it when saved."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result

from onnxbf.cli.main import group
from onnxbf.session import make_session, run
from tests.runtime import needs_training

pytestmark = needs_training
MODELS = Path(__file__).parents[1] / "models"
MODEL = MODELS / "onnxscript_functions.onnx"


def _run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(group, [*map(str, arguments)], prog_name="onnxbf")


@pytest.mark.parametrize("flag", [True, False])
def test_a_flag_chooses_the_branch_that_is_trained(flag: bool, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    state = generator.normal(size=(8, 5, 16)).astype(np.float32)
    labels = np.tanh(state[:, ::-1])
    np.savez(tmp_path / "data.npz", state=state, labels=labels)
    data = tmp_path / "data.npz"
    result = _run(
        *("train", MODEL, "--data", data, "--validation", data, "--loss", "mse", "--epochs", "3"),
        *("--input", f"flag={str(flag).lower()}", "--recipe", "none", "-o", tmp_path / "run"),
    )
    assert result.exit_code == 0, result.output
    saved = onnx.load(tmp_path / "run" / "seed-0" / "none.onnx")
    assert [value.name for value in saved.graph.input] == ["state", "flag"]
    mean = []
    for given in (flag, not flag):
        feeds = {"state": state, "flag": np.array(given)}
        (y,) = run(make_session(saved.SerializeToString()), feeds).values()
        mean.append(float(np.mean((y - labels) ** 2)))
    lines = map(json.loads, (tmp_path / "run/seed-0/log.jsonl").read_text().splitlines())
    told = [line["validation_loss"] for line in lines if "validation_loss" in line][-1]
    assert mean[0] == pytest.approx(told, rel=1e-5)
    assert abs(mean[1] - told) > 1e-3 * told


def test_without_it_data_that_lack_the_flag_say_what_would_help(tmp_path: Path) -> None:
    model = MODELS / "torch_gru.onnx"
    random = np.random.default_rng(0)
    series = random.normal(size=(4, 7, 6)).astype(np.float32)
    arrays = {"series": series, "labels": series[:, :, :1]}
    np.savez(tmp_path / "data.npz", **arrays)
    options = ("--data", tmp_path / "data.npz", "--loss", "mse", "--outputs", "output0")
    command = ("train", model, *options, "--batch-size", "2", "-o", tmp_path / "run")
    refused = _run(*command)
    assert refused.exit_code == 2
    assert "'state' (float32[1, 2, 20])" in refused.stderr and "--input" in refused.stderr
    result = _run(*command, "--input", "state=0")
    assert result.exit_code == 0, result.output

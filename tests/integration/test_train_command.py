"""``onnxbf train`` from the command line: what it writes, and that stopping it costs nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import numpy_helper

from onnxbf.cli.main import group
from onnxbf.session import make_session, run
from tests.event_files import curves
from tests.networks import write_data, write_mlp
from tests.runtime import needs_training

pytestmark = needs_training

ROOT = Path(__file__).parents[2]
STOCHASTIC = """
name = "bf16-sr"
[[rules]]
ops = ["gemm"]
inputs = "bf16:sr"
weights = "bf16:sr"
gradients = "bf16:sr"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, with and without dropout, and data; the current one."""
    write_mlp(tmp_path / "mlp.onnx")
    write_mlp(tmp_path / "dropout.onnx", dropout=0.25)
    write_data(tmp_path / "train.npz", 200, 1)
    write_data(tmp_path / "test.npz", 60, 2)
    (tmp_path / "sr.toml").write_text(STOCHASTIC)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(*arguments: str) -> Result:
    return CliRunner().invoke(group, ["train", *arguments], prog_name="onnxbf")


def lines(path: Path, kind: str) -> list[dict[str, Any]]:
    logs = sorted(path.glob("seed-*/log.jsonl"))
    records = (json.loads(line) for log in logs for line in log.read_text().splitlines())
    return [record for record in records if record["kind"] == kind]


def test_two_lanes_two_seeds_and_a_verdict(folder: Path) -> None:
    result = train(
        *("mlp.onnx", "--data", "train.npz", "--validation", "test.npz", "--epochs", "3"),
        *("--optimizer", "sgd{momentum=0.9}", "--schedule", "SIN{k0=0.01,k1=0.1,l=20}"),
        *("--against", "none", "--seed", "3", "--seed", "4", "-o", "run"),
    )
    assert result.exit_code == 0, result.output
    assert "seed 4  epoch 3/3  none" in result.output
    assert "within seed noise" in result.output
    run_folder = folder / "run"
    steps, epochs = lines(run_folder, "step"), lines(run_folder, "epoch")
    assert len(steps) == 2 * 2 * 3 * 7  # lanes, seeds, epochs, batches of 32 of 200
    assert len(epochs) == 2 * 2 * 3
    rates = [s["rate"] for s in steps if s["lane"] == "none" and s["seed"] == 3]
    turns = np.pi * np.arange(21) / 40
    np.testing.assert_allclose(rates, 0.09 * np.abs(np.sin(turns)) + 0.01)
    means = [s["loss"] for s in steps if s["seed"] == 4 and s["lane"] == "bf16" and s["epoch"] == 2]
    assert epochs[-2]["loss"] == pytest.approx(np.mean(means))
    results = json.loads((run_folder / "results.json").read_text())
    finals = results["lanes"]["bf16"]["accuracy"]["final"]
    assert finals == [e["accuracy"] for e in epochs if e["lane"] == "bf16" and e["epoch"] == 2]
    (accuracy,) = [item for item in results["contrasts"] if item["score"] == "accuracy"]
    theirs = results["lanes"]["none"]["accuracy"]["final"]
    assert accuracy["difference"] == pytest.approx(np.mean(finals) - np.mean(theirs))
    assert min(finals) > 0.6


def test_the_trained_model_computes_what_was_measured(folder: Path) -> None:
    train(
        *("mlp.onnx", "--data", "train.npz", "--validation", "test.npz", "--epochs", "2"),
        *("--recipe", "none", "-o", "run"),
    )
    data = dict(np.load(folder / "test.npz"))
    trained = run(make_session(folder / "run" / "seed-0" / "none.onnx"), {"x": data["x"]})
    (before, after) = lines(folder / "run", "epoch")
    assert np.mean(trained["y"].argmax(axis=1) == data["labels"]) == after["accuracy"]
    assert after["loss"] < before["loss"]


def test_an_update_by_several_batches_is_one_by_a_larger_batch(folder: Path) -> None:
    for size, count in (("10", "4"), ("40", "1")):
        train(
            *("mlp.onnx", "--data", "train.npz", "--batch-size", size, "--accumulate", count),
            *("--optimizer", "sgd", "--schedule", "0.1", "--recipe", "none", "-o", f"run{size}"),
        )
    found = [lines(folder / f"run{size}", "step") for size in (10, 40)]
    assert [len(steps) for steps in found] == [5, 5]
    losses = [[step["loss"] for step in steps] for steps in found]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


LONG = (
    *("dropout.onnx", "--data", "train.npz", "--validation", "test.npz", "--epochs", "6"),
    *(
        "--batch-size",
        "2",
        "--recipe",
        "sr.toml",
        "--against",
        "fp8-delayed",
        "--checkpoint-every",
        "16",
    ),
    *("--accumulate", "2", "--loss-scale", "dynamic{growth_interval=50}"),
)


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "onnxbf", "train", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    while not path.exists() and process.poll() is None:
        time.sleep(0.01)


def everything(path: Path) -> dict[str, bytes]:
    found = [p for p in path.rglob("*") if p.is_file() and p.name != "run.json"]
    return {str(p.relative_to(path)): p.read_bytes() for p in found}


def test_killed_at_ten_moments_and_resumed_it_ends_with_the_same_bits(folder: Path) -> None:
    assert train(*LONG, "-o", "whole").exit_code == 0
    generator = np.random.default_rng()  # other moments each time
    arguments: tuple[str, ...] = LONG
    kills = 0
    while kills < 10:
        process = start(folder, *arguments, "-o", "killed")
        wait_for(folder / "killed" / "run.json", process)
        before = lines(folder / "killed", "step") if arguments != LONG else []
        while process.poll() is None and _steps(folder) <= len(before):
            time.sleep(0.005)
        time.sleep(generator.uniform(0, 0.1))
        process.kill()
        process.communicate()
        kills += 1
        arguments = ("--resume",)
    assert train("--resume", "-o", "killed").exit_code == 0
    assert everything(folder / "killed") == everything(folder / "whole")


def _steps(folder: Path) -> int:
    path = folder / "killed" / "seed-0" / "log.jsonl"
    return path.read_bytes().count(b'"step"') if path.exists() else 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_a_checkpoint(folder: Path, number: signal.Signals) -> None:
    assert train(*LONG, "-o", "whole").exit_code == 0
    process = start(folder, *LONG, "-o", "stopped")
    wait_for(folder / "stopped" / "seed-0" / "checkpoint.safetensors", process)
    process.send_signal(number)
    output, _ = process.communicate()
    assert process.returncode == 130, output
    assert "Go on with --resume" in output
    assert "Traceback" not in output
    assert train("--resume", "-o", "stopped").exit_code == 0
    assert everything(folder / "stopped") == everything(folder / "whole")


SHORT = ("mlp.onnx", "--data", "train.npz", "--epochs", "1", "-o", "run")


def test_more_epochs_than_at_first(folder: Path) -> None:
    common = ("mlp.onnx", "--data", "train.npz")
    assert train(*common, "--epochs", "3", "-o", "whole").exit_code == 0
    assert train(*common, "--epochs", "1", "-o", "run").exit_code == 0
    result = train("--resume", "--epochs", "3", "-o", "run")
    assert result.exit_code == 0, result.output
    assert everything(folder / "run") == everything(folder / "whole")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--data", "train.npz"), "Missing argument 'MODEL'"),
        (("mlp.onnx",), "Missing option '--data'"),
        (("absent.onnx", "--data", "train.npz"), "absent.onnx"),
        (("mlp.onnx", "--data", "absent.npz"), "no data 'absent.npz'"),
        (("mlp.onnx", "--data", "wrong.npz"), "Label 4 of row"),
        (("mlp.onnx", "--data", "narrow.npz"), "float32[N, 8]"),
        (("mlp.onnx", "--data", "train.npz", "--loss", "cross-entropi"), "'cross-entropy'"),
        (("mlp.onnx", "--data", "train.npz", "--optimizer", "adam{beta=1}"), "beta"),
        (("mlp.onnx", "--data", "train.npz", "--schedule", "SIN{k0=1}"), "SIN"),
        (("mlp.onnx", "--data", "train.npz", "--schedule", "SIN{k0=1"), "SIN{k0=1"),
        (("mlp.onnx", "--data", "train.npz", "--recipe", "bf17"), "bf17"),
        (("mlp.onnx", "--data", "train.npz", "--metric", "accuracy"), "--validation"),
        (("mlp.onnx", "--data", "train.npz", "--epochs", "0"), "--epochs"),
        (("mlp.onnx", "--data", "train.npz", "--seed", "1", "--seed", "1"), "Seeds"),
        (("mlp.onnx", "--data", "train.npz", "--freeze", "."), "no trainable parameters"),
        (("mlp.onnx", "--data", "train.npz", "--loss-scale", "3"), "power of two"),
        (("--resume",), "no run to resume"),
    ],
)
def test_refusals(folder: Path, arguments: tuple[str, ...], expected: str) -> None:
    data = dict(np.load(folder / "train.npz"))
    np.savez(folder / "wrong.npz", x=data["x"], labels=data["labels"] + 1)
    np.savez(folder / "narrow.npz", x=data["x"][:, :7], labels=data["labels"])
    result = train(*arguments, "-o", "run")
    assert result.exit_code == 2
    assert expected in result.output
    assert "Traceback" not in result.output
    assert not (folder / "run").exists()


def test_refusals_of_what_stands_there(folder: Path) -> None:
    assert train(*SHORT).exit_code == 0
    again = train(*SHORT)
    assert again.exit_code == 2
    assert "holds a run already" in again.output
    other = train("--resume", "--batch-size", "64", "-o", "run")
    assert other.exit_code == 2
    assert "began with --batch-size 32, and cannot go on with 64" in other.output
    model = onnx.load(folder / "mlp.onnx")
    weights = numpy_helper.to_array(model.graph.initializer[0]) + 1
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "w1"))
    onnx.save(model, folder / "mlp.onnx")
    changed = train("--resume", "-o", "run")
    assert changed.exit_code == 2
    assert "is not the model that this run began with" in changed.output


def test_a_loss_that_is_not_finite_stops_the_run(folder: Path) -> None:
    result = train(*SHORT, "--optimizer", "sgd", "--schedule", "1e30", "--recipe", "none")
    assert result.exit_code == 2
    assert "The loss of step" in result.output
    assert "the first to give such a number is" in result.output
    assert "node 'fc" in result.output


def test_skipped_updates_are_counted(folder: Path) -> None:
    result = train(*SHORT, "--loss-scale", "dynamic{init=4194304}", "--recipe", "fp16")
    assert result.exit_code == 0, result.output
    skipped = [step["skipped"] for step in lines(folder / "run", "step")]
    scales = [step["loss_scale"] for step in lines(folder / "run", "step")]
    count = sum(skipped)
    assert 0 < count < len(skipped)
    assert skipped == [True] * count + [False] * (len(skipped) - count)
    np.testing.assert_array_equal(scales[: count + 1], 2.0**22 / 2.0 ** np.arange(count + 1))
    assert f"skipped {count}" in result.output


def test_a_full_disk_leaves_the_last_checkpoint(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train(*LONG, "-o", "whole").exit_code == 0
    calls, sync = 0, os.fsync

    def full(handle: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise OSError(28, "No space left on device")
        sync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        result = train(*LONG, "-o", "run")
    assert result.exit_code == 2
    assert "No space left on device. The one before it is untouched" in result.output
    assert train("--resume", "-o", "run").exit_code == 0
    assert everything(folder / "run") == everything(folder / "whole")


def test_numeric_health_is_logged_where_it_is_sampled(folder: Path) -> None:
    for every in ("0", "3"):
        result = train(
            *("mlp.onnx", "--data", "train.npz", "--against", "none", "--accumulate", "2"),
            *("--health-every", every, "-o", f"run{every}"),
        )
        assert result.exit_code == 0, result.output
    assert lines(folder / "run0", "step") == lines(folder / "run3", "step")
    assert not lines(folder / "run0", "rounding") + lines(folder / "run0", "update")
    roundings, updates = (lines(folder / "run3", kind) for kind in ("rounding", "update"))
    assert {record["lane"] for record in roundings} == {"bf16"}
    assert {(record["lane"], record["step"]) for record in updates} == {
        (lane, step) for lane in ("bf16", "none") for step in (0, 3)
    }
    first = {r["tensor"]: r["elements"] for r in roundings if r["step"] == 0}
    assert first["x"] == 2 * 32 * 8  # batches of 32 with 8 features


def test_numeric_health_of_cast_pairs_is_refused(folder: Path) -> None:
    result = train(
        *("mlp.onnx", "--data", "train.npz", "--portable", "--health-every", "3", "-o", "run")
    )
    assert result.exit_code == 2
    assert "cannot be observed" in result.output


@pytest.mark.parametrize("accumulate", ["1", "2"])
def test_the_step_that_ends_a_run_is_measured(folder: Path, accumulate: str) -> None:
    result = train(
        *(*SHORT, "--health-every", "100", "--optimizer", "sgd", "--schedule", "1e30"),
        *("--accumulate", accumulate, "--batch-size", "20", "--tensorboard"),
    )
    assert result.exit_code == 2
    assert "The loss of step" in result.output
    last = len(lines(folder / "run", "step"))
    assert 0 < last < 100 and f"The loss of step {last} is" in result.output
    roundings = lines(folder / "run", "rounding")
    assert {record["step"] for record in roundings} == {0, last}
    before, after = ([r for r in roundings if r["step"] == step] for step in (0, last))
    assert sum(record["overflow"] + record["nan"] for record in before) == 0
    assert sum(record["overflow"] + record["nan"] for record in after) > 0
    counted = {r["tensor"]: r["elements"] for r in after}
    assert counted["x"] == 20 * 8  # of the batch that ended the run alone
    shares = curves(folder / "run" / "tensorboard" / "seed-0" / "bf16")
    nans = {name: curve[last] for name, curve in shares.items() if name.startswith("nan/")}
    assert nans == {f"nan/{r['node']}": np.float32(r["nan"] / r["elements"]) for r in after}

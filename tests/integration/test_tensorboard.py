"""What ``onnxbf train --tensorboard`` writes is what the log says, also where a run was killed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from onnxbf.cli.main import group
from onnxbf.training.run import Run, StepDone
from onnxbf.training.settings import Settings, load_settings
from tests.event_files import curves
from tests.networks import write_data, write_mlp
from tests.runtime import needs_training

pytestmark = needs_training


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_mlp(tmp_path / "mlp.onnx")
    write_data(tmp_path / "train.npz", 200, 1)
    write_data(tmp_path / "test.npz", 60, 2)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings(**more: Any) -> Settings:
    return Settings(
        model="mlp.onnx", data="train.npz", validation="test.npz", metrics=("accuracy",),
        against="none", epochs=3, health_every=4, tensorboard=True, **more,
    )  # fmt: skip


def log(run: Path, lane: str) -> list[dict[str, Any]]:
    records = map(json.loads, (run / "seed-0" / "log.jsonl").read_text().splitlines())
    return [record for record in records if record["lane"] == lane]


def check_curves(run: Path) -> None:
    """Every number of the log is drawn, once and where it belongs, and no other one is."""
    for lane in ("bf16", "none"):
        wanted: dict[str, dict[int, float]] = {}
        step = 0
        for record in log(run, lane):
            step = record.get("index", record.get("step", step))
            for tag, number in expected(record).items():
                wanted.setdefault(tag, {})[step] = float(np.float32(number))
        found = curves(run / "tensorboard" / "seed-0" / lane)
        speed = found.pop("train/examples_per_second")
        assert found == wanted
        assert [*speed] == [*wanted["train/loss"]]
        assert min(speed.values()) > 0


def expected(record: dict[str, Any]) -> dict[str, float]:
    """The curves of a line of the log."""
    if record["kind"] == "step":
        names = {"learning_rate": "rate", "gradient_norm": "norm"}
        kept = ("loss", "learning_rate", "gradient_norm", "loss_scale", "skipped")
        return {f"train/{name}": record[names.get(name, name)] for name in kept}
    if record["kind"] == "epoch":
        scores = ("loss", "validation_loss", "accuracy")
        return {f"epoch/{name}": record[name] for name in scores}
    if record["kind"] == "rounding":
        fates = ("overflow", "saturated", "underflow", "nan")
        shares = {name: record[name] / record["elements"] for name in fates}
        if record["snr_db"] is not None:
            shares["snr_db"] = record["snr_db"]
        return {f"{name}/{record['node']}": share for name, share in shares.items()}
    shares = {name: record[f"{name}_share"] for name in ("swallowed", "unseen")}
    shares["descent"] = record["descent"]
    return {f"{k}/{record['parameter']}": v for k, v in shares.items() if v is not None}


def test_the_curves_are_those_of_the_log(folder: Path) -> None:
    for _ in Run(settings(), "run").events():
        pass
    check_curves(folder / "run")
    (name,) = [path.name for path in (folder / "run/tensorboard/seed-0/bf16").iterdir()]
    assert "tfevents" in name


def test_a_run_that_died_goes_on_without_saying_anything_twice(folder: Path) -> None:
    for at in (5, 9, 16):  # the last one in the third epoch
        resume = (folder / "run").exists()
        run = Run(settings(checkpoint_every=4), "run", resume=resume)
        for event in run.events():
            if isinstance(event, StepDone) and event.steps["none"].index == at:
                break  # nothing is written after the last checkpoint, or tidied up
        drawn = curves(folder / "run/tensorboard/seed-0/none")["train/loss"]
        assert [*drawn] == [*range(at + 1)]
    for _ in Run(load_settings(folder / "run/run.json"), "run", resume=True).events():
        pass
    check_curves(folder / "run")
    assert len([*(folder / "run/tensorboard/seed-0/bf16").iterdir()]) == 4


def test_it_is_asked_for(folder: Path) -> None:
    common = ["train", "mlp.onnx", "--data", "train.npz", "--epochs", "1"]
    for option, folders in ((), []), (("--tensorboard",), ["tensorboard"]):
        result = CliRunner().invoke(group, [*common, *option, "-o", f"run{len(option)}"])
        assert result.exit_code == 0, result.output
        assert [p.name for p in (folder / f"run{len(option)}").glob("tensor*")] == folders

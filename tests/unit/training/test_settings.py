"""What a run is, as a file; and what may change when it is resumed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from onnxbf.errors import ModelError, SpecError
from onnxbf.training.settings import Settings, check_same, load_settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"any bytes")
    return Settings(
        model=str(model), data="d.npz", seeds=(3, 1), freeze=("a", "b"), schedule="TRI{k0=1}"
    )


def test_settings_come_back(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(settings.to_json())
    assert load_settings(path) == settings


def test_a_changed_model_is_noticed(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(settings.to_json())
    Path(settings.model).write_bytes(b"other bytes")
    with pytest.raises(ModelError, match="is not the model that this run began with"):
        load_settings(path)


@pytest.mark.parametrize("text", ["", "[]", '{"model": 1}', '{"nonsense": 1, "model_sha256": ""}'])
def test_files_that_describe_no_run(text: str, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(text)
    with pytest.raises(ModelError, match="does not describe a run"):
        load_settings(path)


def test_what_may_change_and_what_may_not(settings: Settings) -> None:
    check_same(settings, replace(settings, epochs=9, checkpoint_every=3, tensorboard=True))
    with pytest.raises(SpecError, match=r"with --seed \(3, 1\), and cannot go on with \(3,\)"):
        check_same(settings, replace(settings, seeds=(3,)))
    with pytest.raises(SpecError, match=r"began with --loss-scale 1, .* with dynamic"):
        check_same(settings, replace(settings, loss_scale="dynamic"))


def test_refusals(settings: Settings) -> None:
    with pytest.raises(SpecError, match="--batch-size must be at least 1"):
        replace(settings, batch_size=0)
    with pytest.raises(SpecError, match="Seeds must be given"):
        replace(settings, seeds=())

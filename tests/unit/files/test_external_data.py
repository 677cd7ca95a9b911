"""Weights in files beside the model: missing, cut off, out of the folder."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from onnxbf.errors import UnsupportedError
from onnxbf.files import load_model, save_model
from tests.model_files import refused


def test_missing_external_data(external: Path) -> None:
    (external.parent / "w.bin").unlink()
    assert "missing" in refused(external)


def test_cut_external_data(external: Path) -> None:
    data = external.parent / "w.bin"
    data.write_bytes(data.read_bytes()[:-1])
    assert "cut off" in refused(external)


@pytest.mark.parametrize(("key", "value"), [("length", "8"), ("offset", "-4"), ("offset", "x")])
def test_external_data_in_an_impossible_place(external: Path, key: str, value: str) -> None:
    model = onnx.load(external, load_external_data=False)
    entries = model.graph.initializer[0].external_data
    kept = {entry.key: entry.value for entry in entries if entry.key in ("location", "length")}
    del entries[:]
    for name, text in {**kept, key: value}.items():
        entries.add(key=name, value=text)
    external.write_bytes(model.SerializeToString())
    refused(external)


def test_external_data_behind_a_link_out_of_the_folder(external: Path) -> None:
    data = external.parent / "w.bin"
    data.rename(external.parent.parent / "w.bin")
    data.symlink_to("../w.bin")
    assert "outside" in refused(external)


@pytest.mark.parametrize("location", ["../w.bin", "/etc/passwd"])
def test_external_data_outside_of_the_folder(external: Path, location: str) -> None:
    model = onnx.load(external, load_external_data=False)
    (external.parent / "w.bin").rename(external.parent.parent / "w.bin")
    next(
        e for e in model.graph.initializer[0].external_data if e.key == "location"
    ).value = location
    external.write_bytes(model.SerializeToString())
    assert "outside" in refused(external)


def test_keep_weights_cannot_leave_the_folder(external: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(UnsupportedError, match="--keep-weights"):
        save_model(load_model(external), tmp_path / "out" / "m.onnx", keep_weights=True)
    assert list((tmp_path / "out").iterdir()) == []

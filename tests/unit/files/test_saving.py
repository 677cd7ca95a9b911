"""Models are written whole or not at all; weights stay or are copied."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxbf.errors import ModelError
from onnxbf.files import load_model, save_model
from tests.model_files import product_model, weights_of


def test_external_weights_stay_in_the_same_folder(external: Path) -> None:
    target = external.with_name("out.onnx")
    save_model(load_model(external), target)
    assert sorted(p.name for p in external.parent.iterdir()) == ["model.onnx", "out.onnx", "w.bin"]
    assert weights_of(target).shape == (64, 64)


def test_external_weights_are_copied_to_another_folder(external: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    target = tmp_path / "out" / "model.onnx"
    seen: list[tuple[int, int]] = []
    save_model(
        load_model(external), target, progress=lambda done, total: seen.append((done, total))
    )
    assert sorted(p.name for p in target.parent.iterdir()) == ["model.onnx", "model.onnx.data"]
    assert seen == [(1, 1)]
    np.testing.assert_array_equal(weights_of(target), weights_of(external))


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("disk full")

    monkeypatch.setattr(ir, "save", fail)
    with pytest.raises(RuntimeError):
        save_model(ir.from_proto(product_model()), path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


def test_a_failed_copy_of_weights_leaves_the_old_ones(
    external: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    target = folder / "m.onnx"
    save_model(load_model(external), target)
    before = {path: path.read_bytes() for path in folder.iterdir()}

    def full(done: int, total: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ModelError, match="No space left on device"):
        save_model(load_model(external), target, progress=full)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before

"""Checkpoints come back as they were, and a failed write leaves the one before."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from onnxbf.errors import ModelError
from onnxbf.training import checkpoint
from onnxbf.training.checkpoint import CheckpointNotWritten, load_checkpoint, save_checkpoint

pytest.importorskip("safetensors")
BITS = np.array([0x7FC00001, 0xFF812345, 0x80000000, 0x00000001, 0x7F800000], np.uint32)
TENSORS = {"w": BITS.view(np.float32), "scalar": np.float32(3).reshape(()), "n": np.arange(6)[::2]}


def test_bits_and_notes_come_back(tmp_path: Path) -> None:
    notes = {"loss": 0.1 + 0.2, "history": [{"a": 1e-320}], "count": 2**60}
    save_checkpoint(tmp_path / "c", TENSORS, notes)
    tensors, found = load_checkpoint(tmp_path / "c")
    assert found == notes
    assert {k: v.tobytes() for k, v in tensors.items()} == {
        k: v.tobytes() for k, v in TENSORS.items()
    }
    assert tensors["scalar"].shape == ()


def test_a_full_disk_leaves_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c"
    save_checkpoint(path, TENSORS, {"step": 1})

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointNotWritten, match=r"No space left.*one before it is untouched"):
        save_checkpoint(path, TENSORS, {"step": 2})
    assert load_checkpoint(path)[1] == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


def test_a_path_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(CheckpointNotWritten, match="no folder"):
        save_checkpoint(tmp_path / "absent" / "c", TENSORS, {})
    with pytest.raises(CheckpointNotWritten, match="is a folder"):
        save_checkpoint(tmp_path / "folder", TENSORS, {})


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="There is no checkpoint"):
        load_checkpoint(tmp_path / "c")
    (tmp_path / "c").write_bytes(b"not safetensors at all")
    with pytest.raises(ModelError, match="is not a checkpoint"):
        load_checkpoint(tmp_path / "c")
    library = checkpoint._safetensors()
    library.numpy.save_file({"w": np.zeros(2, np.float32)}, tmp_path / "c")
    with pytest.raises(ModelError, match="not written by onnxbf"):
        load_checkpoint(tmp_path / "c")

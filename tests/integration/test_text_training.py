"""A model that takes text is trained on text, from a file and from a function, to the same bits."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from onnxbf.cli.main import group
from tests.runtime import needs_training

pytestmark = needs_training
MODEL = Path(__file__).parents[1] / "models" / "sklearn_text_columns.onnx"
_MODULE = """
import numpy as np
def examples():
    data = np.load("text.npz")
    for row in zip(*data.values()):
        yield dict(zip(data, row))
"""


def _trained(folder: Path, data: str, *options: str) -> bytes:
    arguments = [
        *("train", str(MODEL), "--data", data, "--validation", "text.npz", "--epochs", "8"),
        *("--schedule", "0.05", "--recipe", "bf16", "--no-shuffle", "--threads", "1"),
        *(*options, "-o", str(folder)),
    ]
    result = CliRunner().invoke(group, arguments, prog_name="onnxbf")
    assert result.exit_code == 0, result.output
    assert "accuracy 1\n" in result.output.replace("          ", "")
    return (folder / "seed-0" / "bf16.onnx").read_bytes()


def test_text_is_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    labels = np.arange(48) % 3
    colors = np.array(["blue", "green", "red"])[labels][:, None]  # which tell the label
    numbers = np.random.default_rng(0).normal(size=(48, 8)).astype(np.float32)
    np.savez(tmp_path / "text.npz", colors=colors, numbers=numbers, labels=labels)
    np.savez(tmp_path / "coded.npz", colors=colors.astype("S"), numbers=numbers, labels=labels)
    (tmp_path / "text_examples.py").write_text(_MODULE)
    from_file = _trained(tmp_path / "a", "text.npz")
    assert _trained(tmp_path / "b", "coded.npz", "--health-every", "3") == from_file
    assert _trained(tmp_path / "c", "text_examples:examples") == from_file
    sys.modules.pop("text_examples", None)
    saved, before = onnx.ModelProto.FromString(from_file), onnx.load(MODEL)
    assert saved.graph.input == before.graph.input
    assert [n.op_type for n in saved.graph.node] == [n.op_type for n in before.graph.node]

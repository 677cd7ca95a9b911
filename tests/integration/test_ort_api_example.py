"""The example that trains with ONNX Runtime's API runs as a user runs it, and learns."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

_binding = pytest.importorskip("onnxruntime.capi._pybind_state")
pytestmark = pytest.mark.skipif(
    not hasattr(_binding, "GradientGraphBuilder"), reason="this ONNX Runtime cannot train"
)
ROOT = Path(__file__).parents[2]


def test_it_learns_the_task(tmp_path: Path) -> None:
    script = ROOT / "examples" / "train_with_ort_api.py"
    done = subprocess.run(
        [sys.executable, script, tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    losses = [float(text) for text in re.findall(r"step +\d+  loss (\S+)", done.stdout)]
    assert len(losses) == 6
    assert losses[-1] < 0.5 * losses[0]
    assert (tmp_path / "trained").is_file()

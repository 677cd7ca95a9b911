"""The benchmark of training runs, on one network: no figure of it is judged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.runtime import needs_training

pytestmark = needs_training
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "bench_training.py"


def test_all_candidates_train_the_same_network() -> None:
    command = [sys.executable, SCRIPT, "--rounds", "1", "--steps", "1", "--only", "CNN"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "our trainer, bf16" in done.stdout
    assert "its own artifacts" in done.stdout

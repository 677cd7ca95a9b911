"""The benchmark of numeric health runs, on one network: no figure of it is judged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.runtime import needs_training

pytestmark = needs_training
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "bench_health.py"


def test_roundings_and_steps_are_measured() -> None:
    command = [sys.executable, SCRIPT, "--rounds", "1", "--steps", "1", "--only", "CNN"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "e4m3fn:rne{overflow=saturate}" in done.stdout
    (found,) = [line.split() for line in done.stdout.splitlines() if "fp8" in line]
    assert found[0] == "CNN"
    assert float(found[-1]) > 1  # millions of numbers were counted

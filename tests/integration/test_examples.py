"""The examples run as a user runs them; the one that trains with ONNX Runtime's API learns."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runtime import needs_training

EXAMPLES = Path(__file__).parents[2] / "examples"


def _run(script: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("script", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_every_example_has_help(script: Path, tmp_path: Path) -> None:
    assert _run(script, "--help").stdout.startswith(f"usage: {script.name}")
    lone = tmp_path / script.name
    lone.write_bytes(script.read_bytes())
    for refused, why in (
        (_run(script, "--colour"), "unrecognized arguments: --colour"),
        (_run(lone), "is missing: run this script in a checkout of onnxbf."),
    ):
        assert refused.returncode == 2
        assert refused.stderr.splitlines()[-1].endswith(why)
        assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("folder", "why"), [("file", "is a file: name a folder."), ("file/a/b", "cannot make the")]
)
def test_folders_that_cannot_be(folder: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = _run(EXAMPLES / "train_with_ort_api.py", tmp_path / folder)
    assert refused.returncode == 2
    assert why in refused.stderr.splitlines()[-1]


@needs_training
def test_it_learns_the_task(tmp_path: Path) -> None:
    done = _run(EXAMPLES / "train_with_ort_api.py", tmp_path)
    assert done.returncode == 0, done.stderr
    losses = [float(text) for text in re.findall(r"step +\d+  loss (\S+)", done.stdout)]
    assert len(losses) == 6
    assert losses[-1] < 0.5 * losses[0]
    assert (tmp_path / "trained").is_file()

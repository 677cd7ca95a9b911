"""Where things are printed, and in colour or not."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from onnxbf.cli.console import progress, warn

ROOT = Path(__file__).parents[3]
ESCAPE = "\x1b["


def _on_a_terminal(script: str, **environment: str) -> str:
    """What a script prints whose output is a terminal."""
    ours, theirs = pty.openpty()
    unset = {"NO_COLOR", "FORCE_COLOR", "COLUMNS"}
    kept = {key: value for key, value in os.environ.items() if key not in unset}
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**kept, "TERM": "xterm-256color", **environment},
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        printed = b""
        while chunk := _read(ours):
            printed += chunk
    os.close(ours)
    assert process.returncode == 0, printed.decode()
    return printed.decode()


def _read(handle: int) -> bytes:
    try:
        return os.read(handle, 4096)
    except OSError:  # Linux says so when the other end is closed
        return b""


WARN = "from onnxbf.cli.console import warn; warn('too hot')"


def test_a_warning_is_one_plain_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    warn("[all] " + "long " * 100 + "end")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "Warning: [all] " + "long " * 100 + "end\n"


def test_colour_on_a_terminal_only() -> None:
    assert ESCAPE in _on_a_terminal(WARN)
    piped = subprocess.run(
        [sys.executable, "-c", WARN], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert piped.stderr == "Warning: too hot\n"


def test_no_color_is_honoured() -> None:
    assert _on_a_terminal(WARN, NO_COLOR="1").strip() == "Warning: too hot"


def test_progress_shows_on_a_terminal() -> None:
    script = (
        "from onnxbf.cli.console import progress\n"
        "with progress() as bar:\n"
        "    bar.step('Reading')\n"
        "    bar.count(1, 2)\n"
        "    bar.step('Writing')\n"
    )
    assert "Writing" in _on_a_terminal(script)


def test_progress_is_silent_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    with progress() as bar:
        bar.step("Reading")
        bar.count(1, 2)
    assert capsys.readouterr() == ("", "")

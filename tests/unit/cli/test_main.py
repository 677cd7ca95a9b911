"""The command line as a whole: exit codes, errors, completion, what ``--help`` costs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

import onnxbf
from onnxbf.cli.main import COMMANDS, INTERRUPTED, group
from onnxbf.errors import KernelError

ROOT = Path(__file__).parents[3]


def _invoke(*arguments: str) -> Result:
    return CliRunner().invoke(group, arguments, prog_name="onnxbf")


def _onnxbf(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "onnxbf", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """The command ``formats`` raises what the test is parametrized with."""

    @click.command()
    def command() -> None:
        raise request.param

    monkeypatch.setattr("onnxbf.cli.main.load_command", lambda name: command)


@pytest.mark.parametrize("failing", [KernelError("No kernels: build them.")], indirect=True)
def test_an_error_on_purpose_is_one_sentence_and_code_2(failing: None) -> None:
    result = _invoke("formats")
    assert result.exit_code == 2
    assert result.stderr == "Error: No kernels: build them.\n"
    assert result.stdout == ""


@pytest.mark.parametrize("failing", [ZeroDivisionError("a bug")], indirect=True)
def test_any_other_error_keeps_its_traceback(failing: None) -> None:
    assert isinstance(_invoke("formats").exception, ZeroDivisionError)


@pytest.mark.parametrize("failing", [KeyboardInterrupt()], indirect=True)
def test_an_interrupt_is_quiet(failing: None) -> None:
    result = _invoke("formats")
    assert result.exit_code == INTERRUPTED == 128 + signal.SIGINT
    assert result.output == ""


def test_a_closed_pipe_is_quiet() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "onnxbf", "formats"],
        cwd=ROOT,
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(write)
    assert done.returncode == 1
    assert done.stderr == ""


def test_as_a_module() -> None:
    done = _onnxbf("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip().endswith(onnxbf.__version__)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("convrt", "model.onnx"), "convert"),
        (("formats", "--jsn"), "--json"),
        (("formats", "bf61"), "bf16"),
    ],
)
def test_a_slip_is_answered_with_the_nearest_name(arguments: tuple[str, ...], hint: str) -> None:
    done = _onnxbf(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "did you mean" in done.stderr.lower()
    assert hint in done.stderr.splitlines()[-1]


def test_help_loads_no_command() -> None:
    script = (
        "import sys\nfrom onnxbf.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print([name for name in sys.modules if name.startswith('onnxbf.cli.')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = "['onnxbf.cli.deferred', 'onnxbf.cli.options', 'onnxbf.cli.main']"
    assert done.stdout.splitlines()[-1] == loaded


def test_the_shell_is_told_commands_and_options() -> None:
    words = _onnxbf(_ONNXBF_COMPLETE="bash_complete", COMP_WORDS="onnxbf co", COMP_CWORD="1")
    starting = sorted(name for name in COMMANDS if name.startswith("co"))
    assert sorted(line.split(",")[1] for line in words.stdout.split()) == starting
    words = _onnxbf(
        _ONNXBF_COMPLETE="bash_complete", COMP_WORDS="onnxbf formats --j", COMP_CWORD="2"
    )
    assert words.stdout.split() == ["plain,--json"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str) -> None:
    result = _invoke("completion", shell)
    assert result.exit_code == 0
    assert f"_ONNXBF_COMPLETE={shell}_complete" in result.stdout


def test_completion_takes_the_shell_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    assert _invoke("completion").stdout == _invoke("completion", "fish").stdout
    monkeypatch.setenv("SHELL", "/bin/unknown")
    assert _invoke("completion").exit_code == 2

"""Every command has help with examples, and a place in the documentation."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from onnxbf.cli.main import COMMANDS, group, load_command

ROOT = Path(__file__).parents[2]
NO_COMMANDS = (
    "main",
    "console",
    "deferred",
    "options",
    "training_report",
)  # what else lies in cli/


def _help(*arguments: str) -> str:
    result = CliRunner().invoke(group, [*arguments, "--help"], prog_name="onnxbf")
    assert result.exit_code == 0
    return result.output


def test_every_module_of_the_command_line_is_a_command() -> None:
    modules = {path.stem for path in (ROOT / "cli").glob("[a-z]*.py")}
    assert modules - set(NO_COMMANDS) == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_examples(name: str) -> None:
    text = _help(name)
    assert text.startswith(f"Usage: onnxbf {name}")
    _, heading, examples = text.partition("Examples:\n")
    assert heading
    assert f"onnxbf {name}" in examples


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_help(name: str) -> None:
    for parameter in load_command(name).params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name


@pytest.mark.parametrize("name", COMMANDS)
def test_the_overview_lists_it(name: str) -> None:
    assert f"  {name} " in _help()
    assert COMMANDS[name].endswith(".")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_documentation_names_it(name: str) -> None:
    assert f"onnxbf {name}" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("module", "table"),
    [
        ("losses", "LOSSES"),
        ("metrics", "METRICS"),
        ("optimizers", "OPTIMIZERS"),
        ("schedules", "SCHEDULES"),
    ],
)
def test_the_help_of_train_names_all_there_is(module: str, table: str) -> None:
    names = getattr(importlib.import_module(f"onnxbf.training.{module}"), table)
    words = set(re.findall(r"[\w-]+", re.sub(r"-\n +", "-", _help("train"))))
    assert set(names) <= words

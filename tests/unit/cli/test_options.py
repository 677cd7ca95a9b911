"""Options that commands share."""

from __future__ import annotations

from typing import Any

import click
from click.testing import CliRunner

from onnxbf.cli.options import examples, recipe_options


def _parse(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = {}

    @click.command()
    @recipe_options
    def command(**options: Any) -> None:
        found.update(options)

    assert CliRunner().invoke(command, arguments).exit_code == 0
    return found


def test_defaults() -> None:
    assert _parse() == {"recipe": "bf16", "include": (), "exclude": (), "op_types": ()}


def test_operator_types_may_be_listed_and_repeated() -> None:
    found = _parse("--op-types", "MatMul, Conv,", "--op-types", "Gemm")
    assert found["op_types"] == ("MatMul", "Conv", "Gemm")


def test_patterns_are_kept_as_they_are() -> None:
    assert _parse("--include", "a,b", "--include", "c")["include"] == ("a,b", "c")


def test_examples_print_line_by_line() -> None:
    command = click.Command("x", epilog=examples("onnxbf one " + "long " * 20, "onnxbf two"))
    text = CliRunner().invoke(command, ["--help"]).output
    assert text.endswith("Examples:\n    onnxbf one " + "long " * 20 + "\n    onnxbf two\n")

"""The command ``onnxbf``: commands load when they are used, errors print as one sentence."""

from __future__ import annotations

import gc
import importlib
import logging
from collections.abc import Sequence
from typing import Any

import click

import onnxbf
from onnxbf.cli.deferred import SYMBOLIC, defer
from onnxbf.cli.options import examples
from onnxbf.errors import OnnxbfError

COMMANDS: dict[str, str] = {  # name -> what `onnxbf --help` says, without loading the command
    "convert": "Rewrite a model so that it computes as other hardware does.",
    "artifacts": "Write what ONNX Runtime's own training API takes.",
    "inspect": "Show a model's operators, and what a recipe would round.",
    "train": "Train under a recipe, and beside it under its baseline.",
    "compose": "Put two models into one, so that one loss trains both.",
    "study": "Reproduce the claims of papers, with a verdict on each.",
    "compare": "Measure how far apart two models compute.",
    "accuracy": "Measure arithmetic profiles against exact sums, layer by layer.",
    "formats": "Show number formats, their limits and the roundings.",
    "selftest": "Check every kernel on this machine, bit for bit.",
    "completion": "Print the script that completes onnxbf in a shell.",
}
INTERRUPTED = 130  # 128 + SIGINT, as shells report it


class Refused(click.ClickException):
    """An error that onnxbf raised on purpose: its message and no traceback."""

    exit_code = 2


def load_command(name: str) -> click.Command:
    """The command itself, which lives in the module of its name."""
    command: click.Command = importlib.import_module(f"onnxbf.cli.{name}").command
    return command


class LazyGroup(click.Group):
    """Lists and completes its commands by name; imports the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in the order of COMMANDS

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, _, rest = super().resolve_command(ctx, args)
        return name, None if name is None else load_command(name), rest

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except OnnxbfError as error:
            raise Refused(str(error)) from error
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)


@click.group(
    cls=LazyGroup,
    commands={name: click.Command(name, help=summary) for name, summary in COMMANDS.items()},
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "onnxbf convert model.onnx",
        "onnxbf compare model.onnx model.bf16.onnx",
        "onnxbf COMMAND --help",
    ),
)
@click.version_option(onnxbf.__version__, prog_name="onnxbf")
def group() -> None:
    """Emulate BF16, FP8 and other arithmetic in ONNX models, bit for bit."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line: ``sys.argv`` where no arguments are given."""
    defer(SYMBOLIC)
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)  # errors are told in one sentence
    try:
        group.main(arguments, prog_name="onnxbf")
    finally:
        gc.freeze()  # the process ends: its graphs need not be taken apart node by node

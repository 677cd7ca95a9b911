"""What several commands share: options that belong together, and how examples are shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])


def examples(*lines: str) -> str:
    """An epilog that click prints line by line."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def _split(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(part.strip() for value in values for part in value.split(",") if part.strip())


_RECIPE = (
    click.option(
        "--recipe",
        default="bf16",
        show_default=True,
        metavar="NAME|FILE",
        help="What is rounded: bf16, bf16-pure, bf16-gemm, fp16, fp8, avx512-bf16, amx-bf16, "
        "arm-bf16, bf16-accumulate, fp8-chunked, hopper, fqt-ptq, fqt-psq, fqt-bhq, mxfp8, mxfp6, "
        "mxfp4, mxint8, none, or a TOML file.",
    ),
    click.option(
        "--include", multiple=True, metavar="REGEX", help="Only nodes in whose name this is found."
    ),
    click.option(
        "--exclude", multiple=True, metavar="REGEX", help="No node in whose name this is found."
    ),
    click.option(
        "--op-types",
        multiple=True,
        metavar="A,B",
        callback=_split,
        help="Only these operators or classes (gemm, elementwise, normalization, reduction).",
    ),
)


def recipe_options(command: _Command) -> _Command:
    """The recipe and what narrows it, in this order in the help."""
    for option in reversed(_RECIPE):
        command = option(command)
    return command


def seed_option(of_what: str) -> Callable[[_Command], _Command]:
    """``--seed``, which fits the int64 attribute of a node."""
    seeds = click.IntRange(0, 2**63 - 1)
    return click.option(
        "--seed", type=seeds, metavar="N", default=0, show_default=True, help=of_what
    )

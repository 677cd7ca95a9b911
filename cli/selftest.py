"""``onnxbf selftest``: whether the kernels round right on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from onnxbf.cli.console import console
from onnxbf.cli.options import examples

if TYPE_CHECKING:
    from onnxbf.custom_ops.selftest import Check


@click.command(
    "selftest",
    epilog=examples(
        "onnxbf selftest",
        "onnxbf selftest --quick",
        "onnxbf selftest --profile avx512_bf16",
        "onnxbf selftest --json > selftest.json",
    ),
)
@click.option("--quick", is_flag=True, help="A few seconds' worth, on fewer numbers.")
@click.option(
    "--profile",
    help="Check the products and sums of this arithmetic profile instead.",
)
@click.option("--threads", type=click.IntRange(min=1), help="[default: all cores]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(
    context: click.Context, quick: bool, profile: str | None, threads: int | None, as_json: bool
) -> None:
    """Check every kernel, on every instruction set of this CPU, against its oracles.

    The oracles share no code with the kernels: another implementation in NumPy, and the CPU's own
    conversion and dot product instructions where it has them. Exit code 1 says that some result had
    a wrong bit.
    """
    found = _checks(profile, quick=quick, threads=threads)
    checks = list(found) if as_json else _print(found)
    passed = all(check.mismatches == 0 for check in checks)
    if as_json:
        rows = [asdict(check) for check in checks]
        click.echo(json.dumps({"passed": passed, "checks": rows}, indent=2))
    context.exit(0 if passed else 1)


def _checks(profile: str | None, *, quick: bool, threads: int | None) -> Iterator[Check]:
    if profile is None:
        from onnxbf.custom_ops.selftest import run_checks

        return run_checks(quick=quick, threads=threads)
    from onnxbf.arithmetic import parse_arithmetic
    from onnxbf.custom_ops.profile_selftest import run_profile_checks

    return run_profile_checks(parse_arithmetic(profile), quick=quick, threads=threads)


def _print(found: Iterable[Check]) -> list[Check]:
    """One line for each check, as soon as it is done."""
    checks = []
    for check in found:
        checks.append(check)
        console.print(_line(check), highlight=False)
    cases, mismatches = (sum(each) for each in zip(*((c.cases, c.mismatches) for c in checks)))
    seconds = sum(check.seconds for check in checks)
    console.print(
        f"{len(checks)} checks, {cases:,} cases, {mismatches:,} mismatches, {seconds:.0f} s"
    )
    return checks


def _line(check: Check) -> str:
    from rich.markup import escape

    verdict = "[red]WRONG[/red]" if check.mismatches else "[green]ok[/green]   "
    if not check.cases:
        verdict = "[yellow]none[/yellow] "
    counts = f"{check.cases:>14,} cases {check.mismatches:>3,} wrong {check.seconds:5.1f} s"
    return f"{verdict} {check.name:<68}{counts}  {escape(check.detail)}"

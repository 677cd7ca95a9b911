"""``onnxbf study``: reproduce the claims of papers, with a verdict on each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxbf.cli.console import console, progress
from onnxbf.cli.options import examples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnxbf.cli.console import Steps
    from onnxbf.studies.claim import Claim
    from onnxbf.studies.study import Effort, Outcome, Study

_REFUTED = 1  # the exit code where a claim does not hold


@click.group("study", epilog=examples("onnxbf study list", "onnxbf study run all --quick"))
def command() -> None:
    """Reproduce the claims of the papers that onnxbf began with."""


@command.command("list", epilog=examples("onnxbf study list"))
def list_studies() -> None:
    """Show every study: its paper, its claims and their limits, its options."""
    from dataclasses import fields

    from onnxbf.studies.registry import STUDIES, study_class

    for name in STUDIES:
        study = study_class(name)
        _say(f"{name}: {study.about}")
        _say(f"  {study.source}")
        for claim in study.claims:
            _say(f"  {claim.name:<12}{claim.text} {claim.side} {claim.limit:g}")
        options = ", ".join(f"{field.name}={field.default}" for field in fields(study))
        _say(f"  options: {options}\n" if options else "")


@command.command(
    "run",
    epilog=examples(
        "onnxbf study run all --quick",
        "onnxbf study run lrbench --seeds 5 -o results",
        "onnxbf study run lrbench range --claim D3 --claim A3",
        "onnxbf study run 'lrbench{recipe=fp8,target=0.97}'",
    ),
)
@click.argument("studies", nargs=-1, required=True, metavar="NAME{KEY=VALUE,...}...")
@click.option("--quick", is_flag=True, help="Fewer seeds, and smaller where a study can be.")
@click.option(
    "--seeds", type=click.IntRange(1), help="Trainings of each kind.  [default: by study]"
)
@click.option(
    "--claim",
    "claims",
    multiple=True,
    metavar="CLAIM",
    help="Judge this claim alone (see list), such as D3; may be repeated.",
)
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Write results.json, rows.csv and charts into a folder of the study's name there.",
)
@click.pass_context
def run_studies(
    context: click.Context,
    studies: tuple[str, ...],
    quick: bool,
    seeds: int | None,
    claims: tuple[str, ...],
    output: Path | None,
) -> None:
    """Carry out studies, or all of them, and judge their claims.

    Exit code 1 says that a claim did not hold.
    """
    from onnxbf.studies.optional import needed
    from onnxbf.studies.registry import parse_studies
    from onnxbf.studies.results import write_results
    from onnxbf.studies.study import check_packages, choose_claims, effort_for

    chosen = [study for text in studies for study in parse_studies(text)]
    if output is not None:
        needed("matplotlib")  # for the charts: told before anything is trained
    judged = choose_claims(chosen, claims)
    check_packages([study for study, wanted in zip(chosen, judged) if wanted])
    passed = True
    for study, wanted in zip(chosen, judged):
        if not wanted:
            continue
        with progress() as bar:
            outcome = _carry_out(study, effort_for(study, seeds, quick), wanted, bar)
        _show(outcome)
        passed = passed and outcome.passed
        if output is not None:
            paths = write_results(outcome, output / study.name)
            _say(f"Wrote {', '.join(map(str, paths))}\n")
    if not passed:
        context.exit(_REFUTED)


def _carry_out(study: Study, effort: Effort, claims: Sequence[Claim], bar: Steps) -> Outcome:
    from onnxbf.studies.study import CellDone, run_study

    bar.step(study.name)
    for event in run_study(study, effort, claims):
        if not isinstance(event, CellDone):
            return event
        bar.show(f"{study.name}: {event.name}", event.done, event.total)
    raise AssertionError("a study ends with its outcome")


def _show(outcome: Outcome) -> None:
    from rich.table import Table

    study, effort = outcome.study, outcome.effort
    _say(f"{study.name}: {study.about}\n{study.source}")
    if rows := study.table(outcome.rows):
        table = Table(box=None, pad_edge=False)
        for name in rows[0]:
            table.add_column(name, justify="left" if isinstance(rows[0][name], str) else "right")
        for row in rows:
            table.add_row(*(_text(value) for value in row.values()))
        console.print(table, markup=False)
    for remark in study.remarks(outcome.rows):
        _say(remark)
    for finding in outcome.findings:
        claim = finding.claim
        style = "green" if finding.passed else "red"
        console.print("PASS" if finding.passed else "FAIL", style=style, end=" ")
        _say(f"{claim.name}: {claim.text} {finding.measured:.4g}, {claim.side} {claim.limit:g}")
    verdict = "PASS" if outcome.passed else "FAIL"
    seeds = f"{effort.seeds} seed{'s' if effort.seeds > 1 else ''}"
    _say(f"{verdict}: {study.name}, {seeds}, {outcome.seconds:.0f} s\n")


def _text(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.5g}"


def _say(text: str) -> None:
    console.print(text, highlight=False, markup=False)

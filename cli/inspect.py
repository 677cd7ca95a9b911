"""``onnxbf inspect``: what a model holds, and what a recipe would do to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxbf.cli.console import console
from onnxbf.cli.options import examples, recipe_options

if TYPE_CHECKING:
    from onnxbf.passes.survey import Survey


@click.command(
    "inspect",
    epilog=examples(
        "onnxbf inspect model.onnx",
        "onnxbf inspect model.onnx --recipe fp8 --op-types MatMul",
        "onnxbf inspect model.onnx --json > model.json",
    ),
)
@click.argument("model", type=click.Path(path_type=Path))
@recipe_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(model: Path, recipe: str, as_json: bool, **selected: Any) -> None:
    """Show the operators of MODEL by class, and what a recipe would round, or not, and why."""
    from onnxbf.files import load_model
    from onnxbf.graph import collection_paused
    from onnxbf.passes.pipeline import make_selection
    from onnxbf.passes.survey import survey
    from onnxbf.recipe import load_recipe

    chosen, selection = load_recipe(recipe), make_selection(**selected)
    with collection_paused():
        found = survey(load_model(model), chosen, selection)
    if as_json:
        console.print_json(json.dumps(found.as_dict()))
        return
    _print(found)


def _print(found: Survey) -> None:
    from rich.markup import escape
    from rich.table import Table

    console.print(
        f"opset {found.opset}, IR version {found.ir_version}, {found.report.nodes} nodes, "
        f"{found.parameters:,} parameters in {found.initializers} initializers",
        highlight=False,
    )
    table = Table("operator", "class", "nodes", "rounded", box=None)
    if any(row.arithmetics for row in found.rows):
        table.add_column("arithmetic")
    table.add_column("left alone because")
    for row in found.rows:
        cells = [escape(row.op_type), row.kind, str(row.nodes), str(row.covered)]
        if len(table.columns) > len(cells) + 1:
            sums = {name: len(nodes) for name, nodes in row.arithmetics.items()}
            cells.append(escape(_counted(sums, row.nodes)))
        table.add_row(*cells, _counted(row.reasons, row.nodes))
    console.print(table)
    console.print(str(found.report).splitlines()[0], highlight=False, markup=False)
    for line in (*found.report.notes, *found.report.warnings):
        console.print(line, highlight=False, markup=False)


def _counted(counts: Mapping[str, int], nodes: int) -> str:
    """What is true of ``counts`` out of so many nodes."""
    return "; ".join(
        text if count == nodes else f"{text} (x{count})" for text, count in counts.items()
    )

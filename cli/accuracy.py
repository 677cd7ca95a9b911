"""``onnxbf accuracy``: the error of each arithmetic profile against exact sums, layer by layer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxbf.cli.console import console
from onnxbf.cli.options import examples, seed_option

if TYPE_CHECKING:
    from onnxbf.accuracy import Accuracy, Layer

DEFAULT = "fp32,avx512_bf16,sequential{format=bf16},chunked{size=64}"


@click.command(
    "accuracy",
    epilog=examples(
        "onnxbf accuracy model.onnx",
        "onnxbf accuracy model.onnx --profiles 'arm_bf16,sequential{format=fp16}' --operands fp16",
        "onnxbf accuracy model.onnx --inputs batch.npz --json accuracy.json",
    ),
)
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--profiles", default=DEFAULT, show_default=True, help="Arithmetic profiles, between commas."
)
@click.option(
    "--operands",
    default="bf16",
    show_default=True,
    metavar="CAST",
    help="What operands are rounded to, under exact sums, too; fp32: not at all.",
)
@click.option(
    "--inputs",
    type=click.Path(path_type=Path),
    help="An .npz file with one array per input. [default: random, seeded]",
)
@seed_option("Of the random inputs, and of stochastic sums.")
@click.option("--threads", type=click.IntRange(min=1), help="Of ONNX Runtime. [default: all cores]")
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path), help="Write all measures to this file."
)
def command(
    model: Path,
    profiles: str,
    operands: str,
    inputs: Path | None,
    seed: int,
    threads: int | None,
    json_path: Path | None,
) -> None:
    """Run MODEL with exact sums, and measure each node that sums under other arithmetics.

    Each is given the operands that it has under exact sums: its error is its own. The last
    rows are the outputs of whole networks that sum as a profile says. All figures are the 2-norm of
    the error over that of the exact result.
    """
    from onnxbf.accuracy import measure_accuracy
    from onnxbf.arithmetic import parse_arithmetic
    from onnxbf.files import check_target, write_text
    from onnxbf.formats import FLOAT32, Cast, parse_cast
    from onnxbf.spec import split_items

    if json_path is not None:
        check_target(json_path)
    cast = parse_cast(operands)
    found = measure_accuracy(
        model,
        [parse_arithmetic(text) for text in split_items(profiles, profiles)],
        operands=None if cast == Cast(FLOAT32) else cast,
        inputs=inputs,
        seed=seed,
        threads=threads,
    )
    if json_path is not None:
        write_text(json_path, found.to_json())
    _print(found)


def _print(found: Accuracy) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None)
    table.add_column("layer", overflow="fold")
    table.add_column("operator")
    table.add_column("terms", justify="right")
    for profile in found.profiles:
        table.add_column(escape(profile), justify="right", overflow="fold")
    for layer in found.layers:
        table.add_row(escape(layer.name), layer.op_type, str(layer.terms or ""), *_errors(layer))
    for layer in found.outputs:
        table.add_row(f"[bold]{escape(layer.name)}[/bold]", layer.op_type, "", *_errors(layer))
    console.print(table)
    for note in found.notes:
        console.print(note, style="yellow", highlight=False, markup=False)
    rounded = "as they are" if found.operands == "fp32" else f"in {found.operands}"
    console.print(f"Error relative to exact sums; operands {rounded}.", highlight=False)


def _errors(layer: Layer) -> list[str]:
    return [
        "NaN or infinite" if each.special_mismatches else f"{each.norm_rel:.1e}"
        for each in layer.differences.values()
    ]

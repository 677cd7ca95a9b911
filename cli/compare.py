"""``onnxbf compare``: how far apart two models compute."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxbf.cli.console import console
from onnxbf.cli.options import examples, seed_option

if TYPE_CHECKING:
    from onnxbf.comparison import Comparison
    from onnxbf.difference import TensorDifference


@click.command(
    "compare",
    epilog=examples(
        "onnxbf compare model.onnx model.bf16.onnx",
        "onnxbf compare from_torch.onnx from_keras.onnx --inputs batch.npz",
        "onnxbf compare model.onnx model.bf16.onnx --layers --json differences.json",
    ),
)
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.option(
    "--inputs",
    type=click.Path(path_type=Path),
    help="An .npz file with one array per input. [default: random, seeded]",
)
@click.option("--layers", is_flag=True, help="Compare every tensor that both models name alike.")
@seed_option("Of the random inputs.")
@click.option("--threads", type=click.IntRange(min=1), help="Of ONNX Runtime. [default: all cores]")
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path), help="Write all measures to this file."
)
@click.pass_context
def command(
    context: click.Context,
    a: Path,
    b: Path,
    inputs: Path | None,
    layers: bool,
    seed: int,
    threads: int | None,
    json_path: Path | None,
) -> None:
    """Run models A and B on the same inputs and measure how far B is from A.

    Outputs are matched by name, else by order and shape. Exit code 1 says that an output differs by
    more than the number formats in the models explain.
    """
    from onnxbf.comparison import compare
    from onnxbf.files import check_target, write_text

    if json_path is not None:
        check_target(json_path)
    found = compare(a, b, inputs=inputs, layers=layers, seed=seed, threads=threads)
    if json_path is not None:
        write_text(json_path, found.to_json())
    _print(found)
    context.exit(0 if found.within else 1)


def _verdict(tensor: TensorDifference) -> str:
    if tensor.within:
        return "[green]ok[/green]"
    special = tensor.special_mismatches
    return f"[red]{special} x NaN or infinite[/red]" if special else "[red]more[/red]"


def _print(found: Comparison) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None)
    table.add_column("tensor", overflow="fold")
    for title in ("max abs", "mean abs", "max rel", f"max ulp ({found.format})", "mean ulp"):
        table.add_column(title, justify="right")
    for title in ("cosine", "SNR dB", "error", "explained", ""):
        table.add_column(title, justify="right")
    for tensor in found.tensors:
        name = escape(tensor.a if tensor.a == tensor.b else f"{tensor.a} / {tensor.b}")
        table.add_row(
            f"[bold]{name}[/bold]" if tensor.is_output else name,
            *(f"{value:.3g}" for value in (tensor.max_abs, tensor.mean_abs, tensor.max_rel)),
            *(f"{value:.3g}" for value in (tensor.max_ulp, tensor.mean_ulp)),
            f"{tensor.cosine:.6f}",
            f"{tensor.snr_db:.1f}",
            f"{tensor.norm_rel:.2e}",
            f"{tensor.tolerance:.2e}",
            _verdict(tensor),
        )
    console.print(table)
    for name in found.unmatched:
        text = f"Output {name!r} has no partner in the other model."
        console.print(text, style="red", highlight=False, markup=False)
    verdict = "within" if found.within else "beyond"
    console.print(f"The outputs differ {verdict} what rounding to {found.format} explains.")

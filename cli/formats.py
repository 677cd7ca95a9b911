"""``onnxbf formats``: number formats and their limits."""

from __future__ import annotations

import json
from typing import Any

import click

from onnxbf.cli.console import console
from onnxbf.cli.options import examples
from onnxbf.formats import FORMATS, NumberFormat, Rounding, parse_format

ROUNDINGS = {
    Rounding.NEAREST_EVEN: "to nearest, ties to even",
    Rounding.NEAREST_AWAY: "to nearest, ties away from zero",
    Rounding.TOWARD_ZERO: "toward zero (truncation)",
    Rounding.UP: "up",
    Rounding.DOWN: "down",
    Rounding.TO_ODD: "to odd",
    Rounding.STOCHASTIC: "stochastic",
}


@click.command(
    "formats",
    epilog=examples("onnxbf formats", "onnxbf formats bf16 e5m7", "onnxbf formats --json"),
)
@click.argument("names", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(names: tuple[str, ...], as_json: bool) -> None:
    """Show the limits of number formats: of those called NAMES (any eXmY, too), or of all."""
    chosen = [parse_format(name) for name in names] or list(FORMATS.values())
    if as_json:
        console.print_json(json.dumps([_limits(fmt) for fmt in chosen]))
        return
    _print(chosen)


def _limits(fmt: NumberFormat) -> dict[str, Any]:
    return {
        "name": fmt.name,
        "bits": fmt.bits,
        "exponent_bits": fmt.exponent_bits,
        "mantissa_bits": fmt.mantissa_bits,
        "max": fmt.max,
        "smallest_normal": fmt.smallest_normal,
        "smallest_subnormal": fmt.smallest_subnormal,
        "unit_roundoff": fmt.unit_roundoff,
        "specials": fmt.specials.value,
        "onnx_type": fmt.onnx_type,
    }


def _print(formats: list[NumberFormat]) -> None:
    from rich.table import Table

    table = Table("format", "bits", "s/e/m", box=None)
    for title in ("max", "smallest normal", "smallest subnormal", "unit roundoff"):
        table.add_column(title, justify="right")
    table.add_column("infinity, NaN")
    table.add_column("ONNX type")
    for fmt in formats:
        limits = (fmt.max, fmt.smallest_normal, fmt.smallest_subnormal, fmt.unit_roundoff)
        table.add_row(
            fmt.name,
            str(fmt.bits),
            f"1/{fmt.exponent_bits}/{fmt.mantissa_bits}",
            *(f"{number:.5g}" for number in limits),
            {"ieee": "both", "nan": "NaN", "none": "neither"}[fmt.specials.value],
            fmt.onnx_type or "",
        )
    console.print(table)
    shown = ", ".join(f"{rounding} {text}" for rounding, text in ROUNDINGS.items())
    console.print(f"\nRoundings: {shown}.", highlight=False)
    console.print("Written together: bf16:rne, e4m3fn:rne{overflow=saturate}, bf16:sr{bits=8}.")

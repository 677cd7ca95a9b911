"""``onnxbf formats``: number formats and their limits."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import click

from onnxbf.cli.console import console
from onnxbf.cli.options import examples
from onnxbf.formats import FORMATS, NumberFormat, Rounding, Specials, parse_format

ROUNDINGS = {  # of two neighbours, the number becomes ...
    Rounding.NEAREST_EVEN: "the nearer; of two equally near, the one with an even mantissa",
    Rounding.NEAREST_AWAY: "the nearer; of two equally near, the one farther from zero",
    Rounding.TOWARD_ZERO: "the one nearer to zero (truncation)",
    Rounding.UP: "the larger",
    Rounding.DOWN: "the smaller",
    Rounding.TO_ODD: "the one with an odd mantissa",
    Rounding.STOCHASTIC: "either, the nearer the likelier (stochastic)",
}
SPECIALS = {
    Specials.IEEE: "infinity, NaN",
    Specials.NAN: "NaN",
    Specials.NONE: "none",
}


@click.command(
    "formats",
    epilog=examples("onnxbf formats", "onnxbf formats bf16 e5m7", "onnxbf formats --json"),
)
@click.argument("names", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(names: tuple[str, ...], as_json: bool) -> None:
    """Show the limits of number formats: of those called NAMES (any eXmY, too), or of all."""
    formats = [parse_format(name) for name in names] or list(FORMATS.values())
    if as_json:
        click.echo(json.dumps(_as_dict(formats), indent=2))
        return
    _print(formats)


def _as_dict(formats: Sequence[NumberFormat]) -> dict[str, Any]:
    return {
        "formats": [
            {
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
            for fmt in formats
        ],
        "roundings": {rounding.value: text for rounding, text in ROUNDINGS.items()},
    }


def _print(formats: Sequence[NumberFormat]) -> None:
    from rich.table import Table

    table = Table("format", box=None, pad_edge=False)
    for title in ("bits", "exponent", "mantissa", "largest", "normal", "subnormal", "roundoff"):
        table.add_column(title, justify="right")
    table.add_column("specials")
    for fmt in formats:
        table.add_row(
            fmt.name,
            *(str(bits) for bits in (fmt.bits, fmt.exponent_bits, fmt.mantissa_bits)),
            f"{fmt.max:.6g}",
            *map(_power, (fmt.smallest_normal, fmt.smallest_subnormal, fmt.unit_roundoff)),
            SPECIALS[fmt.specials],
        )
    console.print(table)
    titles = ("rounding", "of two neighbours, a number becomes")
    roundings = Table(*titles, box=None, pad_edge=False)
    for rounding, text in ROUNDINGS.items():
        roundings.add_row(rounding.value, text)
    console.print()
    console.print(roundings)
    console.print(
        "\nA cast is a format and a rounding: bf16, fp16:rtz, e4m3fn:rne{overflow=saturate}, "
        "bf16:sr{bits=8},\ne4m3fn:rne{scaling=current}, e5m2:rne{scaling=delayed,history=1024}.\n"
        "Any eXmY with 2 to 8 exponent and 1 to 23 mantissa bits is a format.",
        highlight=False,
    )


def _power(number: float) -> str:
    """A power of two, written as one."""
    return f"2^{round(math.log2(number))}"

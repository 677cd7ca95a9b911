"""How sums of many terms are lost in small accumulators, and what chunks and random bits repair.

    python benchmarks/swamping.py [--sums N]

Terms are products of bfloat16 numbers drawn evenly from [0, 1): all sums grow, until a term is less
than half the last place of a 16-bit sum, and rounding to nearest swallows it (Wang et al., 2018).
The figures are means of |error| / exact sum, in percent.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from rich.console import Console
from rich.table import Table

from onnxbf.arithmetic import PROFILES, parse_arithmetic
from onnxbf.custom_ops.kernels import kernels
from onnxbf.custom_ops.numpy_api import all_threads, quantize

TERMS = (64, 256, 1024, 4096, 16384, 65536)
PROFILE_TEXTS = (
    "fp32",
    "avx512_bf16",
    "sequential{format=bf16}",
    "sequential{format=bf16,rounding=sr}",
    "chunked{size=64,inner=bf16,outer=bf16}",
    "chunked{size=64,inner=fp32,outer=bf16}",
    "chunked{size=256,inner=bf16,outer=fp32}",
    "sequential{format=fp16}",
    "chunked{size=64,inner=fp16,outer=fp16}",
    "hopper_fp8",
    "tensor_core{group=32,bits=13,operands=e4m3fn,accumulator=e8m13:rtz,promote=128}",
)


SUMMED_TEXTS = (  # of numbers, as ReduceSum has them
    "sequential{format=bf16}",
    "sequential{format=bf16,rounding=sr}",
    "chunked{size=64,inner=bf16,outer=bf16}",
)


def errors(terms: int, sums: int) -> list[float]:
    """The mean relative error of each profile, of ``sums`` squared sums of so many terms."""
    rng, used = np.random.default_rng(terms), kernels()
    found = []
    for text in PROFILE_TEXTS:
        profile = parse_arithmetic(text)
        shapes = (sums, terms), (terms, sums)
        a, b = (rng.random(shape, np.float32) for shape in shapes)
        operands = "bf16" if profile.operands is None else str(profile.operands)
        a, b = (quantize(side, operands) for side in (a, b))
        exact = used.matmul(a, b, PROFILES["exact"], threads=all_threads())
        got = used.matmul(a, b, profile, threads=all_threads())
        found.append(float(np.mean(np.abs(got.astype(np.float64) - exact) / exact)))
    return found


def sum_errors(terms: int, sums: int) -> list[float]:
    """The same of ``sums`` squared sums of so many bfloat16 numbers."""
    rng, used = np.random.default_rng(terms), kernels()
    x = quantize(rng.random((sums * sums, terms), np.float32), "bf16")
    exact = used.sums(x, PROFILES["exact"], threads=all_threads())
    found = []
    for text in SUMMED_TEXTS:
        got = used.sums(x, parse_arithmetic(text), threads=all_threads())
        found.append(float(np.mean(np.abs(got.astype(np.float64) - exact) / exact)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sums", type=int, default=16, help="rows and columns of results")
    options = parser.parse_args()
    table = Table(title="Mean relative error, in percent", title_justify="left", box=None)
    table.add_column("terms of a sum")
    for terms in TERMS:
        table.add_column(f"{terms}", justify="right")
    columns = [[*errors(terms, options.sums), *sum_errors(terms, options.sums)] for terms in TERMS]
    names = [*PROFILE_TEXTS, *(f"ReduceSum, {text}" for text in SUMMED_TEXTS)]
    for text, row in zip(names, zip(*columns)):
        table.add_row(text, *(f"{100 * error:.2g}" for error in row))
    Console(width=None if sys.stdout.isatty() else 140).print(table)


if __name__ == "__main__":
    main()

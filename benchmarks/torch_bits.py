"""Whose bits torch's bfloat16 matmul gives on this CPU: results that differ, for each profile.

    python benchmarks/torch_bits.py [--isa AVX512_CORE_BF16]

torch multiplies by oneDNN, which takes the best instructions that the CPU has: TDPBF16PS where
there is AMX, else VDPBF16PS. ``--isa`` says which it may take at most (ONEDNN_MAX_CPU_ISA). Results
of our kernels are rounded to bfloat16, as torch's are. Numbers are normally distributed.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from onnxbf.arithmetic import PROFILES
from onnxbf.custom_ops.kernels import kernels
from onnxbf.custom_ops.numpy_api import quantize

NAMES = ("torch_cpu_bf16", "amx_bf16", "avx512_bf16")
SHAPES = (  # rows, products, columns
    (8, 16, 8),
    (31, 64, 31),
    (64, 128, 64),
    (33, 257, 65),
    (128, 512, 128),
    (512, 768, 512),
    (100, 1000, 30),
    (64, 1024, 64),
    (64, 1025, 64),
    (17, 2048, 33),
    (256, 3000, 64),
    (1, 4096, 64),
    (64, 4096, 1),
)
Array = np.ndarray[Any, np.dtype[np.float32]]


def product_of(torch: Any, a: Array, b: Array) -> Array:
    """Torch's own, of bfloat16 numbers."""
    sides = (torch.from_numpy(side).bfloat16() for side in (a, b))
    return np.asarray(torch.matmul(*sides).float().numpy())


def differences(torch: Any, rows: int, inner: int, columns: int) -> dict[str, int]:
    """How many results of each profile differ from torch's."""
    rng = np.random.default_rng(inner)
    shapes = (rows, inner), (inner, columns)
    a, b = (quantize(rng.standard_normal(shape).astype(np.float32), "bf16") for shape in shapes)
    wanted = product_of(torch, a, b).view(np.uint32)
    results = {name: kernels().matmul(a, b, PROFILES[name], threads=1) for name in NAMES}
    found = {name: quantize(result, "bf16").view(np.uint32) for name, result in results.items()}
    return {name: int(np.count_nonzero(bits != wanted)) for name, bits in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--isa", help="the best instructions that torch may take")
    options = parser.parse_args()
    if options.isa:
        os.environ["ONEDNN_MAX_CPU_ISA"] = options.isa  # read when torch multiplies first
    if not importlib.util.find_spec("torch"):
        raise SystemExit("This compares with torch: pip install torch==2.13.0")
    torch = importlib.import_module("torch")
    table = Table("rows x products x columns", "results", *NAMES, box=None)
    for rows, inner, columns in SHAPES:
        found = differences(torch, rows, inner, columns)
        size = f"{rows} x {inner} x {columns}"
        table.add_row(size, str(rows * columns), *(str(found[name]) for name in NAMES))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()

"""Checks over all 2^32 float32 patterns.

Between two float32 numbers with the same upper half, rounding to bfloat16 changes at the midpoint
0x8000 alone. And rounding is monotone: where the oracle gives the same number at both ends of a
range, it gives it everywhere between. That is how two evaluations of it speak for 32767 patterns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from onnxbf.custom_ops.cpu_instructions import cpu_codes
from onnxbf.custom_ops.kernels import Kernels
from onnxbf.custom_ops.library import RandomKey
from onnxbf.custom_ops.tally import Tally
from onnxbf.formats import BFLOAT16, Cast
from onnxbf.rounding import round_array

ROWS = 4  # upper halves that are checked at a time: few enough for the cache
_ENDS = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF])  # of the ranges below
_RANGES = (slice(0, 1), slice(1, 0x8000), slice(0x8000, 0x8001), slice(0x8001, 0x10000))
_KEY = RandomKey()

Floats = NDArray[np.float32]


def against_oracle(
    cast: Cast, kernels: Sequence[Kernels], first_rows: Iterable[int], threads: int
) -> Tally:
    """Compare ``kernels`` with ``round_array``, for a cast to bfloat16.

    Args:
        first_rows: upper halves; each, and the ROWS - 1 that follow it, is checked with all lower
            halves. ``range(0, 2**16, ROWS)`` is all there are.
    """
    if cast.format != BFLOAT16:
        raise ValueError(f"{cast} does not round at the lower half")

    def check(values: Floats) -> Tally:
        tally, wanted, rounded = Tally(), _rounded(values, cast), np.empty_like(values)
        for each in kernels:
            each.quantize_dequantize(values, rounded, cast, _KEY)
            tally.compare(f"{cast} on {each.name}", values, rounded, wanted)
        return tally

    return _sweep(check, first_rows, threads)


def against_cpu(
    cast: Cast, kernels: Sequence[Kernels], first_rows: Iterable[int], threads: int
) -> Tally:
    """Compare ``kernels`` with the CPU's own instruction, as ``against_oracle`` does.

    There is nothing to compare (no cases) where the CPU has none for ``cast``.
    """

    def check(values: Floats) -> Tally:
        tally, wanted = Tally(), cpu_codes(values, cast)
        if wanted is None:
            return tally
        for each in kernels:
            codes = each.quantize(values, cast, _KEY)
            tally.compare(f"{cast} on {each.name}", values, codes, wanted)
        return tally

    return _sweep(check, first_rows, threads)


def _rounded(values: Floats, cast: Cast) -> Floats:
    """What ``round_array`` gives, from its results at the ends of each range."""
    at_ends = round_array(values[:, _ENDS], cast).view(np.uint32)
    if (at_ends[:, 1] != at_ends[:, 2]).any() or (at_ends[:, 4] != at_ends[:, 5]).any():
        return round_array(values, cast)
    rounded = np.empty(values.shape, np.uint32)
    for part, end in zip(_RANGES, (0, 1, 3, 4), strict=True):
        rounded[:, part] = at_ends[:, end, None]
    return rounded.view(np.float32)


def _sweep(check: Callable[[Floats], Tally], first_rows: Iterable[int], threads: int) -> Tally:
    lower = np.arange(2**16, dtype=np.uint32)

    def block(first: int) -> Tally:
        upper = np.arange(first, first + ROWS, dtype=np.uint32) << np.uint32(16)
        return check((upper[:, None] | lower).view(np.float32))

    with ThreadPoolExecutor(threads) as pool:
        return Tally().include(pool.map(block, first_rows))

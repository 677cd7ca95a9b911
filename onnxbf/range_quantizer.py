"""What quantizers over ranges compute, in NumPy: to be read, and what the kernels are judged by.

All arithmetic on elements is float32, one rounding each, in the order written here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxbf.errors import UnsupportedError
from onnxbf.range_cast import Grouping, RangeCast

Array = NDArray[Any]
WIDER = np.float32(1e-8)  # what ranges are widened by: one of equal numbers has some width, too


def quantize_range(x: Array, cast: RangeCast, words: Array | None = None) -> Array:
    """``x`` quantized and brought back.

    All numbers of a range that holds a NaN or an infinity, or is wider than float32, become NaN.

    Args:
        x: float32, (samples, ...).
        words: random uint32, as many as ``x`` has elements; for those that round stochastically.

    Raises:
        UnsupportedError: ``bhq`` of fewer than two samples.
    """
    samples = x.shape[0] if x.ndim else 1
    if cast.grouping is Grouping.HOUSEHOLDER and samples < 2:
        raise UnsupportedError(f"{cast} needs 2 samples or more, not {samples}.")
    if x.size == 0:
        return x.copy()
    rows = x.reshape(1 if cast.grouping is Grouping.TENSOR else samples, -1)
    random = None if not cast.stochastic or words is None else words.reshape(rows.shape)
    with np.errstate(all="ignore"):
        if cast.grouping is Grouping.HOUSEHOLDER:
            return _householder(rows, cast, random).reshape(x.shape)
        return _affine(rows, cast, random).reshape(x.shape)


def widths(rows: Array) -> Array:
    """The width of the range of every row."""
    found: Array = (rows.max(1) - rows.min(1)) + WIDER
    return found


def _affine(rows: Array, cast: RangeCast, random: Array | None) -> Array:
    low, high = rows.min(1), rows.max(1)
    if cast.exact_zero:
        low, high = np.minimum(low, np.float32(0)), np.maximum(high, np.float32(0))
    bins = np.float32(cast.bins)
    scale = bins / ((high - low) + WIDER)
    zero = np.rint(-low * scale) if cast.exact_zero else np.zeros_like(low)
    low = np.where(np.isnan(low), low, 0) if cast.exact_zero else low
    low, scale, zero = (each.astype(np.float32)[:, None] for each in (low, scale, zero))
    y = np.clip((rows - low) * scale + zero, np.float32(0), bins)
    quantized: Array = (_integers(y, random) - zero) / scale + low
    return quantized


def _integers(y: Array, random: Array | None) -> Array:
    if random is None:
        return np.rint(y)
    below = np.floor(y)
    chance = (random >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)
    return np.where(y - below > chance, below + np.float32(1), below)


@dataclass(frozen=True)
class Group:
    """Rows that one reflection mixes; the first has a wide range.

    The rows are scaled, by ``scales``, then reflected at the plane orthogonal to ``unit``.
    """

    rows: tuple[int, ...]
    scales: Array
    unit: Array


def make_groups(ranges: Array) -> list[Group]:
    """How block-Householder quantization groups rows by the widths of their ranges.

    The widest rows, as many as are left when the others' share of bins exceeds one each, lead a
    group each; the others are dealt to them in order, as many to each as its range is of all.

    Args:
        ranges: (rows,) float32.
    """
    order = np.argsort(-ranges, kind="stable")
    ordered = ranges[order].astype(np.float64)
    sums = np.cumsum(ordered)
    count = len(ranges)
    small = next(
        (z for z in range(1, count) if z * ordered[count - z - 1] > sums[count - z - 1]), count - 1
    )
    large = count - small
    shares = np.cumsum(small * ordered[:large] / sums[large - 1])
    ends = [min(round(float(share)), small) for share in shares[:-1]] + [small]
    dealt = order[large:]
    return [
        _group((int(order[i]), *map(int, dealt[begin:end])), ranges)
        for i, (begin, end) in enumerate(zip([0, *ends], ends))
    ]


def _group(rows: tuple[int, ...], ranges: Array) -> Group:
    count = len(rows)
    if count == 1:
        return Group(rows, np.ones(1, np.float32), np.zeros(1, np.float32))
    root = math.sqrt(count)
    between = 1 / (count - root) if count > 2 else 0.0  # two of the others
    largest = max(1 / root, abs(1 - 1 / (count - root)), between)
    w1, w2 = float(ranges[rows[0]]) / root, float(ranges[rows[1]]) * largest
    s1, s2 = w1 ** (-1 / 3), (w2 / (count - 1)) ** (-1 / 3)
    both = math.sqrt(1 / (s1 * s1) + 1 / (s2 * s2))
    length = math.sqrt(2 - 2 / root)
    scales = np.array([s1 * both] + [s2 * both] * (count - 1), np.float32)
    unit = np.array([(1 / root - 1) / length] + [1 / root / length] * (count - 1), np.float32)
    return Group(rows, scales, unit)


def _householder(rows: Array, cast: RangeCast, random: Array | None) -> Array:
    ranges = widths(rows)
    if not np.isfinite(ranges).all():
        return np.full_like(rows, np.nan)
    groups = make_groups(ranges)
    mixed = np.empty_like(rows)
    for group in groups:
        t = _projection(rows, group, group.scales)
        for row, scale, unit in zip(group.rows, group.scales, group.unit):
            mixed[row] = scale * rows[row] - (np.float32(2) * unit) * t
    quantized = _affine(mixed, cast, random)
    back = np.empty_like(rows)
    for group in groups:
        t = _projection(quantized, group, np.ones_like(group.scales))
        for row, scale, unit in zip(group.rows, group.scales, group.unit):
            inverse = np.float32(1 / float(scale))
            back[row] = (quantized[row] - (np.float32(2) * unit) * t) * inverse
    return back


def _projection(rows: Array, group: Group, scales: Array) -> Array:
    """The scaled rows on the unit vector, added up in order."""
    terms = [unit * (scale * rows[row]) for row, scale, unit in zip(group.rows, scales, group.unit)]
    total: Array = terms[0]
    for term in terms[1:]:
        total = total + term
    return total

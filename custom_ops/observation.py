"""What rounding, or an update, did to numbers: what the observing operators count, in NumPy.

Squares are summed in float32 within tiles of 1024 elements, and tiles in float64, in an order that
does not depend on threads or instruction sets: element i of a tile goes to sum i % 32, the 32 sums
are added up in halves, the tiles in order. A tile is divided first by a power of 2^32, most often
1, that its largest number decides, so that squares neither overflow nor vanish.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from onnxbf.formats import Cast, Subnormals
from onnxbf.philox import random_words
from onnxbf.rounding import round_array

ROUNDING_FIELDS = ("elements", "overflow", "saturated", "underflow", "nan", "signal", "noise")
UPDATE_FIELDS = ("elements", "updated", "swallowed", "unseen", "descent", "intended")

_TILE, _SUMS = 1024, 32

Floats = NDArray[np.float32]
_Float = TypeVar("_Float", np.float32, np.float64)


def observe_rounding(x: Floats, rounded: Floats, cast: Cast) -> NDArray[np.float64]:
    """What rounding ``x`` under ``cast`` did, as ROUNDING_FIELDS.

    Returns:
        elements: how many there are.
        overflow: finite numbers that became infinite or NaN.
        saturated: numbers beyond the largest one of the format, infinities too, that became finite.
        underflow: numbers other than zero that became zero.
        nan: how many are NaN after rounding.
        signal, noise: the sums of x^2 and of (x - rounded)^2, over those that are finite before and
            after.
    """
    x, rounded = x.ravel(), rounded.ravel()
    finite, still = np.isfinite(x), np.isfinite(rounded)
    kept = finite & still
    before = np.where(kept, x, np.float32(0))
    error = before - np.where(kept, rounded, np.float32(0))
    exponents = _exponents(before, cast)
    largest = np.float32(cast.format.max)
    return np.array(
        [
            x.size,
            np.count_nonzero(finite & ~still),
            np.count_nonzero((np.abs(x) > largest) & still),
            np.count_nonzero((x != 0) & (rounded == 0)),
            np.count_nonzero(np.isnan(rounded)),
            _sum_squares(before, exponents),
            _sum_squares(error, exponents),
        ]
    )


def observe_update(
    update: Floats, before: Floats, after: Floats, cast: Cast
) -> NDArray[np.float64]:
    """What an update that took ``before`` to ``after`` did to weights, as UPDATE_FIELDS.

    Returns:
        elements: how many weights there are.
        updated: those whose update is not zero.
        swallowed: those of them that are what they were before.
        unseen: those of them whose copies, rounded under ``cast``, are what they were before. Where
            bits are random, both copies are rounded with those of seed, node and step 0.
        descent, intended: the sums of (before - after) update and of update^2, in float64, over
            those where all three are finite: Collage's effective descent quality is the first over
            the root of the second, and their quotient is 1 where nothing is lost.
    """
    words = random_words(before.size, seed=0, node=0, step=0).reshape(before.shape)
    copies = [round_array(weights, cast, words) for weights in (before, after)]
    updated = update != 0
    return np.array(
        [
            before.size,
            np.count_nonzero(updated),
            np.count_nonzero(updated & _same_number(before, after)),
            np.count_nonzero(updated & _same_number(*copies)),
            *_descent(update.ravel(), before.ravel(), after.ravel()),
        ],
        np.float64,
    )


def _descent(update: Floats, before: Floats, after: Floats) -> tuple[float, float]:
    finite = np.isfinite(update) & np.isfinite(before) & np.isfinite(after)
    zero = np.float64(0)
    with np.errstate(invalid="ignore"):
        wanted = np.where(finite, update.astype(np.float64), zero)
        taken = np.where(finite, before.astype(np.float64) - after, zero)
    return _sum_tiles(_tiles(taken * wanted)), _sum_tiles(_tiles(wanted * wanted))


def _same_number(one: Floats, other: Floats) -> NDArray[np.bool_]:
    """Equal, NaNs of the same bits too."""
    same: NDArray[np.bool_] = (one == other) | (one.view(np.uint32) == other.view(np.uint32))
    return same


def _tiles(numbers: NDArray[_Float]) -> NDArray[_Float]:
    """Tile by tile, each filled up with zeros."""
    tiles = np.zeros((-(-numbers.size // _TILE), _TILE), numbers.dtype)
    tiles.ravel()[: numbers.size] = numbers
    return tiles


def _exponents(numbers: Floats, cast: Cast) -> NDArray[np.int32]:
    """The powers of two, multiples of 32, that tiles are divided by.

    What rounding adds to a number may be as large as the smallest one of the format.
    """
    keeps = cast.subnormals is Subnormals.KEEP
    smallest = cast.format.smallest_subnormal if keeps else cast.format.smallest_normal
    largest = np.maximum(np.abs(_tiles(numbers)).max(axis=1, initial=0), np.float32(smallest))
    _, exponents = np.frexp(largest)
    nearest: NDArray[np.int32] = (exponents - 1 + 16) // 32 * 32
    return nearest.clip(-96, 96)


def _sum_squares(numbers: Floats, exponents: NDArray[np.int32]) -> float:
    """The sum of squares of ``numbers``, whose tiles are divided by powers of two before."""
    scaled = np.ldexp(_tiles(numbers), -exponents[:, None])
    return _in_order(np.ldexp(_tile_sums(scaled * scaled).astype(np.float64), 2 * exponents))


def _sum_tiles(tiles: NDArray[np.float64]) -> float:
    return _in_order(_tile_sums(tiles))


def _tile_sums(tiles: NDArray[_Float]) -> NDArray[_Float]:
    rows = tiles.reshape(-1, _TILE // _SUMS, _SUMS)
    sums = rows[:, 0]
    for row in range(1, _TILE // _SUMS):
        sums = sums + rows[:, row]
    while sums.shape[1] > 1:
        half = sums.shape[1] // 2
        sums = sums[:, :half] + sums[:, half:]
    return sums[:, 0]


def _in_order(sums: NDArray[np.float64]) -> float:
    total = 0.0
    for tile in sums.tolist():
        total += tile
    return total

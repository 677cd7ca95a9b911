"""Inputs on which rounding goes wrong, if anywhere: what the self-test and the tests are run on."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from onnxbf.encoding import decode
from onnxbf.formats import NumberFormat

_SIGN = np.uint32(0x80000000)
_INFINITY = np.uint32(0x7F800000)


def upper_halves(*lower_halves: int) -> NDArray[np.float32]:
    """Every pattern in the upper 16 bits, with each of ``lower_halves`` below it."""
    upper = np.arange(0, 2**32, 2**16, dtype=np.uint32)
    patterns = upper[:, None] | np.array(lower_halves, np.uint32)[None]
    return _floats(patterns.ravel())


def specials() -> NDArray[np.float32]:
    """Zeros, infinities, subnormal float32 numbers, and NaNs with all kinds of payload."""
    payloads = [1, 0xFFFF, 0x10000, 0x3FFFFF, 0x400000, 0x400001, 0x5A5A5A, 0x7FFFFF]
    nans = _INFINITY | np.array(payloads, np.uint32)
    tiny = np.array([0, 1, 2, 0x7FFF, 0x8000, 0x8001, 0x7FFFFF, 0x800000], np.uint32)
    large = np.array([0x7F7FFFFF, _INFINITY], np.uint32)
    return _both_signs(np.concatenate([nans, tiny, large]))


@functools.cache
def boundaries(fmt: NumberFormat) -> NDArray[np.float32]:
    """The numbers of ``fmt``, the midpoints between them, and the float32 neighbours of both.

    Among the midpoints are the one between zero and the smallest number, and the one between the
    largest number and what would follow it. Of formats of more than 16 bits, all exponents stand
    here with the mantissas around the ends and the middle of their range.
    """
    numbers = _magnitudes(fmt).astype(np.float64)
    following = 2 * numbers[-1] - numbers[-2]
    numbers = np.append(numbers, following)
    middles = (numbers[:-1] + numbers[1:]) / 2
    with np.errstate(over="ignore"):
        exact = np.concatenate([numbers, middles]).astype(np.float32)
    patterns = np.unique(exact.view(np.uint32)).astype(np.int64)
    near = np.unique(patterns[:, None] + np.array([-1, 0, 1]))
    return _both_signs(near[(near >= 0) & (near <= int(_INFINITY))].astype(np.uint32))


def _magnitudes(fmt: NumberFormat) -> NDArray[np.float32]:
    """The numbers of ``fmt`` that are finite and not negative, ascending."""
    mantissas = np.arange(2**fmt.mantissa_bits)
    if fmt.bits > 16:
        middle = len(mantissas) // 2
        mantissas = mantissas[[0, 1, 2, middle - 1, middle, middle + 1, -2, -1]]
    exponents = np.arange(2**fmt.exponent_bits)[:, None] << fmt.mantissa_bits
    numbers = decode((exponents | mantissas).ravel().astype(np.uint32), fmt)
    return numbers[np.isfinite(numbers)]


def _both_signs(patterns: NDArray[np.uint32]) -> NDArray[np.float32]:
    return _floats(np.concatenate([patterns, patterns | _SIGN]))


def _floats(patterns: NDArray[np.uint32]) -> NDArray[np.float32]:
    values: NDArray[np.float32] = patterns.view(np.float32)
    values.flags.writeable = False  # boundaries are worked out once for all callers
    return values

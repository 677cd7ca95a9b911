"""Rounding, written twice: ``round_value`` to be read, ``round_array`` to be used with NumPy.

Both bring float32 values into a number format and back. Neither shares an algorithm with the C++
kernels (exact fractions here, float64 there, integers in C++), so that each can judge the others.

Rules common to all: a NaN stays a NaN, quiet, with its sign (and the payload bits that fit, where
the format has NaNs as IEEE 754 does); zeros keep their sign; overflow follows IEEE 754-2019, 4.3,
so that rounding toward zero, or to odd, stops at the largest number, while infinities stay.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from onnxbf.formats import Cast, NumberFormat, Overflow, Rounding, Specials, Subnormals

_UNIT = 2**32  # stochastic rounding sees the fraction as a 32-bit fixed-point number


def round_value(value: float, cast: Cast, random: int = 0) -> float:
    """Round one float32 value.

    Args:
        value: a number that float32 holds.
        random: 32 random bits, of which stochastic rounding uses the upper ``cast.random_bits``.
    """
    if math.isnan(value) or value == 0:
        return value
    if math.isinf(value):
        return math.copysign(_beyond(cast), value)
    return round_fraction(Fraction(value), cast, random)


def round_fraction(value: Fraction, cast: Cast, random: int = 0) -> float:
    """Round any number but zero, whether float32 holds it or not; otherwise as ``round_value``."""
    fmt, sign, magnitude = cast.format, math.copysign(1.0, value.numerator), abs(value)
    if cast.subnormals is Subnormals.FLUSH and magnitude < Fraction(fmt.smallest_normal):
        return math.copysign(0.0, sign)
    exponent = max(_exponent(magnitude), fmt.min_exponent)
    ulp = Fraction(2) ** (exponent - fmt.mantissa_bits)
    below, rest = divmod(magnitude, ulp)
    result = (below + _away(cast, value > 0, below, rest / ulp, random)) * ulp
    if result > Fraction(fmt.max):
        return math.copysign(_overflow(cast, value > 0), sign)
    return math.copysign(float(result), sign)


def exponent_in(fmt: NumberFormat, value: float) -> int:
    """The exponent with which ``fmt`` writes a number that is not zero."""
    return max(math.frexp(value)[1] - 1, fmt.min_exponent)


def _exponent(magnitude: Fraction) -> int:
    """The largest n for which ``2**n <= magnitude``."""
    guess = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    return guess if magnitude >= Fraction(2) ** guess else guess - 1


def _away(cast: Cast, positive: bool, below: int, fraction: Fraction, random: int) -> bool:
    """Whether a magnitude ``below + fraction`` (in units in the last place) moves away from 0."""
    half = Fraction(1, 2)
    match cast.rounding:
        case Rounding.NEAREST_EVEN:
            return fraction > half or (fraction == half and below % 2 == 1)
        case Rounding.NEAREST_AWAY:
            return fraction >= half
        case Rounding.TOWARD_ZERO:
            return False
        case Rounding.UP:
            return positive and fraction > 0
        case Rounding.DOWN:
            return not positive and fraction > 0
        case Rounding.TO_ODD:
            return fraction > 0 and below % 2 == 0
        case Rounding.STOCHASTIC:
            unused = 32 - cast.random_bits
            return math.floor(fraction * _UNIT) + (random >> unused << unused) >= _UNIT


def _beyond(cast: Cast) -> float:
    """The magnitude that stands for infinity."""
    if cast.overflow is Overflow.SATURATE or cast.format.specials is Specials.NONE:
        return cast.format.max
    return math.inf if cast.format.specials is Specials.IEEE else math.nan


def _overflow(cast: Cast, positive: bool) -> float:
    """The magnitude of a finite value that rounds beyond the largest number."""
    stops = {
        Rounding.TOWARD_ZERO: True,
        Rounding.TO_ODD: True,
        Rounding.UP: not positive,
        Rounding.DOWN: positive,
    }
    return cast.format.max if stops.get(cast.rounding, False) else _beyond(cast)


def round_array(
    array: NDArray[np.float32], cast: Cast, random: NDArray[np.uint32] | None = None
) -> NDArray[np.float32]:
    """Round every element; the same bits as the C++ kernels.

    Args:
        array: float32, any shape.
        random: uint32 of the same shape; needed for stochastic rounding.

    Raises:
        ValueError: stochastic rounding without ``random``.
    """
    fmt = cast.format
    if cast.rounding is Rounding.STOCHASTIC and random is None:
        raise ValueError("stochastic rounding needs the random words of every element")
    array = np.asarray(array, np.float32)
    positive = ~np.signbit(array)
    finite = np.isfinite(array)
    magnitude = np.where(finite, np.abs(array), 0).astype(np.float64)  # 24 bits: all exact below
    exponent = np.maximum(np.frexp(magnitude)[1] - 1, fmt.min_exponent)
    scaled = np.ldexp(magnitude, fmt.mantissa_bits - exponent)
    below = np.floor(scaled)
    away = _away_array(cast, positive, below, scaled - below, random)
    result = np.ldexp(below + away, exponent - fmt.mantissa_bits)
    stop = np.where(positive, _overflow(cast, True), _overflow(cast, False))
    result = np.where(result > fmt.max, stop, result)
    if cast.subnormals is Subnormals.FLUSH:
        result = np.where(magnitude < fmt.smallest_normal, 0.0, result)
    result = np.where(np.isinf(array), _beyond(cast), result)
    rounded = np.copysign(result, np.where(positive, 1.0, -1.0)).astype(np.float32)
    nan = np.isnan(array) | np.isnan(rounded)
    return np.where(nan, _quiet_nan(array, cast), rounded)


def _away_array(
    cast: Cast,
    positive: NDArray[np.bool_],
    below: NDArray[np.float64],
    fraction: NDArray[np.float64],
    random: NDArray[np.uint32] | None,
) -> NDArray[np.bool_]:
    odd = np.equal(np.mod(below, 2), 1)
    inexact = np.greater(fraction, 0)
    match cast.rounding:
        case Rounding.NEAREST_EVEN:
            return np.greater(fraction, 0.5) | (np.equal(fraction, 0.5) & odd)
        case Rounding.NEAREST_AWAY:
            return np.greater_equal(fraction, 0.5)
        case Rounding.TOWARD_ZERO:
            return np.zeros(below.shape, np.bool_)
        case Rounding.UP:
            return positive & inexact
        case Rounding.DOWN:
            return ~positive & inexact
        case Rounding.TO_ODD:
            return inexact & ~odd
        case Rounding.STOCHASTIC:
            assert random is not None
            unused = np.uint32(32 - cast.random_bits)
            drawn = (random >> unused << unused).astype(np.float64)
            return np.greater_equal(np.floor(fraction * _UNIT) + drawn, _UNIT)


def _quiet_nan(array: NDArray[np.float32], cast: Cast) -> NDArray[np.float32]:
    """NaNs with the sign of ``array`` and, for IEEE formats, the payload bits that fit."""
    bits = array.view(np.uint32)
    payload = np.isnan(array) & (cast.format.specials is Specials.IEEE)
    dropped = np.uint32(2 ** (23 - cast.format.mantissa_bits) - 1)
    kept: NDArray[np.uint32] = np.where(payload, bits & ~dropped, bits & np.uint32(0x80000000))
    return (kept | np.uint32(0x7FC00000)).view(np.float32)

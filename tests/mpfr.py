"""Dot products by GNU MPFR: a judge of arithmetic profiles that shares nothing with onnxbf.

MPFR rounds every operation correctly at any precision; a format is a precision and a range of
exponents. Finite numbers only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from onnxbf.arithmetic import Arithmetic, Step
from onnxbf.formats import FLOAT32, Cast, NumberFormat, Overflow, Rounding, Subnormals

gmpy2 = pytest.importorskip("gmpy2", reason="GNU MPFR (gmpy2) is not installed")
_ROUNDINGS = {
    Rounding.NEAREST_EVEN: gmpy2.RoundToNearest,
    Rounding.TOWARD_ZERO: gmpy2.RoundToZero,
    Rounding.UP: gmpy2.RoundUp,
    Rounding.DOWN: gmpy2.RoundDown,
}
Number = Any


def _context(fmt: NumberFormat, rounding: Rounding = Rounding.NEAREST_EVEN) -> Any:
    """MPFR's numbers are 0.1xxx * 2^e, those of IEEE 754 1.xxx * 2^e."""
    return gmpy2.context(
        precision=fmt.mantissa_bits + 1,
        emax=fmt.max_exponent + 1,
        emin=fmt.min_exponent - fmt.mantissa_bits + 1,
        subnormalize=True,
        round=_ROUNDINGS[rounding],
    )


def _operand(number: float, cast: Cast) -> Number:
    fmt = cast.format
    if cast.subnormals is Subnormals.FLUSH and abs(number) < fmt.smallest_normal:
        return gmpy2.mpfr(0)
    exact = gmpy2.mpfr(number, 60)  # made outside of the context, which would round it, too
    with _context(fmt):
        rounded = +exact
    if cast.overflow is Overflow.SATURATE and abs(rounded) > fmt.max:
        return gmpy2.mpfr(fmt.max if number > 0 else -fmt.max)
    return rounded


def _round_as(cast: Cast, flush: bool) -> Callable[[Callable[[], Number]], Number]:
    """A function that runs an operation and rounds its result."""
    if flush:  # what is tiny after rounding to 24 bits, with exponents without end, is zero
        return _flushed
    if cast.rounding is Rounding.TO_ODD:
        return _to_odd

    def plain(operation: Callable[[], Number]) -> Number:
        with _context(cast.format, cast.rounding):
            return operation()

    return plain


def _flushed(operation: Callable[[], Number]) -> Number:
    with gmpy2.context(precision=24):
        result = operation()
    if abs(result) >= gmpy2.mpfr(2) ** 128:
        return gmpy2.inf(1 if result > 0 else -1)
    return result if abs(result) >= 2.0**-126 else gmpy2.mpfr(0)


def _to_odd(operation: Callable[[], Number]) -> Number:
    with gmpy2.context(precision=24, round=gmpy2.RoundToZero) as context:
        result = operation()
        inexact = context.inexact
        if abs(result) < 2.0**-126:
            return gmpy2.mpfr(0)
        if abs(result) >= gmpy2.mpfr(2) ** 128:
            return gmpy2.inf(1 if result > 0 else -1)
        _, mantissa = gmpy2.frexp(result)
        even = int(gmpy2.mul_2exp(mantissa, 24)) % 2 == 0
        away = gmpy2.inf(1 if result > 0 else -1)
        return gmpy2.next_toward(result, away) if inexact and even else result


def dot(profile: Arithmetic, a: Sequence[float], b: Sequence[float]) -> float:
    """The dot product of finite numbers as the profile says."""
    flushes = profile.flush or profile.step is Step.PAIR
    if profile.operands is not None:
        cast = profile.operands
        left, right = ([_operand(number, cast) for number in side] for side in (a, b))
    else:
        left, right = ([gmpy2.mpfr(number, 60) for number in side] for side in (a, b))
    if flushes:
        left, right = (
            [x if abs(x) >= 2.0**-126 else gmpy2.mpfr(0) for x in side] for side in (left, right)
        )
    size = profile.chunk_of(len(left))
    outer = _round_as(profile.outer, profile.flush)
    total = gmpy2.mpfr(0)
    for start in range(0, len(left), size):
        part = slice(start, start + size)
        inner = _STEPS[profile.step](profile, left[part], right[part])
        total = outer(lambda inner=inner, total=total: total + inner) if profile.chunk else inner
    if profile.result is not None:
        with _context(profile.result.format):
            total = +total
    return float(total)


def _fma(profile: Arithmetic, a: Sequence[Number], b: Sequence[Number]) -> Number:
    rounded, total = _round_as(profile.accumulator, profile.flush), gmpy2.mpfr(0)
    for x, y in zip(a, b):
        total = rounded(lambda x=x, y=y, total=total: gmpy2.fma(x, y, total))
    return total


def _odd_first(profile: Arithmetic, a: Sequence[Number], b: Sequence[Number]) -> Number:
    order = [k ^ 1 for k in range(len(a) + len(a) % 2) if k ^ 1 < len(a)]
    return _fma(profile, [a[k] for k in order], [b[k] for k in order])


def _even_odd(profile: Arithmetic, a: Sequence[Number], b: Sequence[Number]) -> Number:
    even, odd = _fma(profile, a[::2], b[::2]), _fma(profile, a[1::2], b[1::2])
    return _round_as(profile.accumulator, profile.flush)(lambda: even + odd)


def _pairs(a: Sequence[Number], b: Sequence[Number]) -> list[tuple[Number, ...]]:
    zero = [gmpy2.mpfr(0)] * (len(a) % 2)
    left, right = [*a, *zero], [*b, *zero]
    return list(zip(left[::2], right[::2], left[1::2], right[1::2]))


def _pair(profile: Arithmetic, a: Sequence[Number], b: Sequence[Number]) -> Number:
    total = gmpy2.mpfr(0)
    for a0, b0, a1, b1 in _pairs(a, b):
        first, second = _to_odd(lambda: a0 * b0), _to_odd(lambda: a1 * b1)  # noqa: B023
        both = _to_odd(lambda: first + second)  # noqa: B023
        total = _to_odd(lambda: total + both)  # noqa: B023
    return total


def _fused_pair(profile: Arithmetic, a: Sequence[Number], b: Sequence[Number]) -> Number:
    total = gmpy2.mpfr(0)
    with _context(FLOAT32):
        for a0, b0, a1, b1 in _pairs(a, b):
            total = total + gmpy2.fmma(a0, b0, a1, b1)
    return total


def _pairwise(profile: Arithmetic, a: Sequence[Number], b: Sequence[Number]) -> Number:
    """By halves: the first one is the largest power of two below the length."""
    with _context(FLOAT32):
        return _tree([x * y for x, y in zip(a, b)])


def _tree(numbers: Sequence[Number]) -> Number:
    if len(numbers) == 1:
        return numbers[0]
    half = 1 << (len(numbers) - 1).bit_length() - 1
    return _tree(numbers[:half]) + _tree(numbers[half:])


def _kahan(profile: Arithmetic, a: Sequence[Number], b: Sequence[Number]) -> Number:
    total, lost = gmpy2.mpfr(0), gmpy2.mpfr(0)
    with _context(FLOAT32):
        for x, y in zip(a, b):
            wanted = x * y - lost
            larger = total + wanted
            lost = (larger - total) - wanted
            total = larger
    return total


def _exact(profile: Arithmetic, a: Sequence[Number], b: Sequence[Number]) -> Number:
    with gmpy2.context(precision=200):
        products = [x * y for x, y in zip(a, b)]
    with _context(FLOAT32):
        return gmpy2.fsum(products)


def _aligned(profile: Arithmetic, a: Sequence[Number], b: Sequence[Number]) -> Number:
    """MPFR cuts off by itself: each term is rounded toward zero in the precision that is left."""
    fmt, total = _operand_format(profile), gmpy2.mpfr(0)
    if not all(map(gmpy2.is_finite, (*a, *b))):  # too large for the operands' format
        return sum((x * y for x, y in zip(a, b)), total)
    for start in range(0, len(a), profile.group):
        part = slice(start, start + profile.group)
        terms = [(x, y, fmt.min_exponent) for x, y in zip(a[part], b[part])]
        terms.append((total, gmpy2.mpfr(1), FLOAT32.min_exponent))
        total = _group(profile, [term for term in terms if term[0] and term[1]])
        if not gmpy2.is_finite(total):
            break
    return total


def _group(profile: Arithmetic, terms: Sequence[tuple[Number, Number, int]]) -> Number:
    def exponent(number: Number, least: int) -> int:
        return max(gmpy2.frexp(number)[0] - 1, least)

    exponents = [exponent(x, least) + (y != 1 and exponent(y, least)) for x, y, least in terms]
    place = max(exponents, default=0) - profile.bits
    total = gmpy2.mpfr(0)
    for x, y, _ in terms:
        with gmpy2.context(precision=200):
            product = x * y
        kept = gmpy2.frexp(product)[0] - place  # binary places of it that count
        if kept > 0:
            with gmpy2.context(precision=kept, round=gmpy2.RoundToZero):
                cut = +product
            with gmpy2.context(precision=200):
                total += cut
    if not abs(total) < gmpy2.mpfr(2) ** 128:
        return gmpy2.inf(1 if total > 0 else -1)
    with _context(profile.accumulator.format, profile.accumulator.rounding):
        return +total


def _operand_format(profile: Arithmetic) -> NumberFormat:
    assert profile.operands is not None
    return profile.operands.format


_STEPS: dict[Step, Callable[..., Number]] = {
    Step.FMA: _fma,
    Step.ODD_FIRST: _odd_first,
    Step.EVEN_ODD: _even_odd,
    Step.PAIR: _pair,
    Step.FUSED_PAIR: _fused_pair,
    Step.PAIRWISE: _pairwise,
    Step.KAHAN: _kahan,
    Step.EXACT: _exact,
    Step.ALIGNED: _aligned,
}

"""The dot product of each arithmetic profile, written to be read: exact fractions, rounded.

This is the specification of the C++ kernels (csrc/gemm.h), which share no algorithm with it. Every
number is a Python float that float32 holds; a sum is formed exactly and then rounded as the profile
says. Where a sum of numbers is zero, its sign is that of its terms where these agree, else +.

NaN: for ``avx512_bf16`` and ``amx_bf16`` with its payload, by the order of precedence of VDPBF16PS
and of TDPBF16PS; for all other profiles the positive quiet NaN 0x7FC00000.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from onnxbf.arithmetic import Arithmetic, Step
from onnxbf.formats import FLOAT32, Cast, Rounding
from onnxbf.rounding import exponent_in, round_fraction, round_value

Numbers = Sequence[float] | NDArray[np.float32]
_DEFAULT_NAN = np.uint32(0x7FC00000).view(np.float32)
_X86_NAN = np.uint32(0xFFC00000).view(np.float32)
# Magnitudes below this stay below 2^-126 when they are rounded to 24 bits.
_TINY = Fraction(2) ** -126 - Fraction(2) ** -151


def dot(
    profile: Arithmetic, a: Numbers, b: Numbers, random: NDArray[np.uint32] | None = None
) -> np.float32:
    """The sum of ``a[k] * b[k]`` as the profile computes it; +0 where there are no products.

    Args:
        a, b: of equal length, numbers that float32 holds.
        random: a word for each product, then one for each chunk (``profile.roundings_of``); needed
            where the profile rounds stochastically.
    """
    words = [0] * profile.roundings_of(len(a)) if random is None else random.tolist()
    left, right = (_operands(profile, numbers) for numbers in (a, b))
    if profile.name == "avx512_bf16" and (nan := _vdpbf16ps_nan(left, right)) is not None:
        return nan
    size, whole = profile.chunk_of(len(left)), 0.0
    for number, start in enumerate(range(0, len(left), size)):
        part = slice(start, start + size)
        if profile.accumulator.rounding is Rounding.STOCHASTIC:
            inner = _fma(profile, left[part], right[part], words[part])
        else:
            inner = _STEPS[profile.step](profile, left[part], right[part])
        if profile.chunk == 0:
            whole = inner
            continue
        word = words[len(left) + number]
        whole = _sum(profile, profile.outer, (whole, 1.0), (inner, 1.0), random=word)
        if math.isnan(whole) and profile.name == "amx_bf16":
            return _tdpbf16ps_nan(profile, left[part], right[part])
    if math.isnan(whole):
        return _X86_NAN if profile.name == "avx512_bf16" else _DEFAULT_NAN
    return np.float32(whole if profile.result is None else round_value(whole, profile.result))


def total(
    profile: Arithmetic, numbers: Numbers, random: NDArray[np.uint32] | None = None
) -> np.float32:
    """The sum of ``numbers`` as the profile computes it: their dot product with ones.

    A multiplier-accumulator sums so, and hardware that has no other adder does. Products with one
    are exact, so a profile says what becomes of the numbers (its operands' format), of their order
    and of the accumulator; no operand format rounds one. Arguments are those of ``dot``.
    """
    return dot(profile, numbers, [1.0] * len(numbers), random)


def _operands(profile: Arithmetic, numbers: Numbers) -> list[float]:
    rounded = [float(number) for number in numbers]
    if profile.operands is not None:
        rounded = [round_value(number, profile.operands) for number in rounded]
    flushes = profile.flush or profile.step is Step.PAIR
    return [_daz(number) for number in rounded] if flushes else rounded


def _daz(number: float) -> float:
    return math.copysign(0.0, number) if abs(number) < 2.0**-126 else number


def _sum(profile: Arithmetic, cast: Cast, *terms: tuple[float, float], random: int = 0) -> float:
    """The exact sum of the products of ``terms``, rounded once."""
    products = [x * y for x, y in terms]  # of infinities, NaN and zeros: else the sign alone counts
    special = math.nan if any(map(math.isnan, products)) else None
    infinite = [p for p, (x, y) in zip(products, terms) if math.isinf(x) or math.isinf(y)]
    if special is None and infinite:
        special = sum(infinite)
    if special is not None:
        return special if math.isnan(special) else round_value(special, cast)
    exact = sum((Fraction(x) * Fraction(y) for x, y in terms), Fraction(0))
    if exact == 0:
        signs = {math.copysign(1.0, x) * math.copysign(1.0, y) for x, y in terms}
        cancelled = any(x != 0 and y != 0 for x, y in terms)
        return math.copysign(0.0, -1.0 if signs == {-1.0} and not cancelled else 1.0)
    if profile.flush and abs(exact) < _TINY:
        return math.copysign(0.0, exact)
    return round_fraction(exact, cast, random)


def _fma(
    profile: Arithmetic, a: Numbers, b: Numbers, words: Iterable[int] = itertools.repeat(0)
) -> float:
    total = 0.0
    for x, y, word in zip(a, b, words):
        total = _sum(profile, profile.accumulator, (x, y), (total, 1.0), random=word)
    return total


def _pairs(numbers: Numbers) -> list[tuple[float, float]]:
    """Neighbours, the last one with +0 where it has none."""
    padded = [*numbers, 0.0]
    return list(zip(padded[0:-1:2], padded[1::2]))


def _odd_first(profile: Arithmetic, a: Numbers, b: Numbers) -> float:
    left, right = (
        [number for even, odd in _pairs(numbers) for number in (odd, even)] for numbers in (a, b)
    )
    return _fma(profile, left, right)


def _even_odd(profile: Arithmetic, a: Numbers, b: Numbers) -> float:
    (even_a, odd_a), (even_b, odd_b) = (list(zip(*_pairs(numbers))) for numbers in (a, b))
    even, odd = _fma(profile, even_a, even_b), _fma(profile, odd_a, odd_b)
    return _sum(profile, profile.accumulator, (even, 1.0), (odd, 1.0))


def _pair(profile: Arithmetic, a: Numbers, b: Numbers) -> float:
    total = 0.0
    for (a0, a1), (b0, b1) in zip(_pairs(a), _pairs(b)):
        first, second = _arm(profile, (a0, b0)), _arm(profile, (a1, b1))
        both = _arm(profile, (first, 1.0), (second, 1.0))
        total = _arm(profile, (total, 1.0), (both, 1.0))
    return total


def _arm(profile: Arithmetic, *terms: tuple[float, float]) -> float:
    """BFRound: to odd, but what reaches 2^128 becomes infinity."""
    if all(math.isfinite(x) and math.isfinite(y) for x, y in terms):
        exact = sum((Fraction(x) * Fraction(y) for x, y in terms), Fraction(0))
        if abs(exact) >= Fraction(2) ** 128:
            return math.copysign(math.inf, exact)
    return _sum(profile, profile.accumulator, *terms)


def _fused_pair(profile: Arithmetic, a: Numbers, b: Numbers) -> float:
    total, cast = 0.0, profile.accumulator
    for (a0, a1), (b0, b1) in zip(_pairs(a), _pairs(b)):
        both = _sum(profile, cast, (a0, b0), (a1, b1))
        total = _sum(profile, cast, (total, 1.0), (both, 1.0))
    return total


def _products(profile: Arithmetic, a: Numbers, b: Numbers) -> list[float]:
    return [_sum(profile, profile.accumulator, (x, y)) for x, y in zip(a, b)]


def _pairwise(profile: Arithmetic, a: Numbers, b: Numbers) -> float:
    level = _products(profile, a, b)
    while len(level) > 1:
        alone = level[len(level) - len(level) % 2 :]
        both = zip(level[0:-1:2], level[1::2])
        level = [_sum(profile, profile.accumulator, (x, 1.0), (y, 1.0)) for x, y in both] + alone
    return level[0]


def _kahan(profile: Arithmetic, a: Numbers, b: Numbers) -> float:
    def add(x: float, y: float) -> float:
        return _sum(profile, profile.accumulator, (x, 1.0), (y, 1.0))

    total, lost = 0.0, 0.0
    for product in _products(profile, a, b):
        wanted = add(product, -lost)
        larger = add(total, wanted)
        lost = add(add(larger, -total), -wanted)
        total = larger
    return total


def _exact(profile: Arithmetic, a: Numbers, b: Numbers) -> float:
    return _sum(profile, profile.accumulator, *zip(a, b))


def _aligned(profile: Arithmetic, a: Numbers, b: Numbers) -> float:
    total = 0.0
    for start in range(0, len(a), profile.group):
        part = slice(start, start + profile.group)
        total = _add_aligned(profile, a[part], b[part], total)
    return total


def _add_aligned(profile: Arithmetic, a: Numbers, b: Numbers, total: float) -> float:
    """Products and ``total``, each cut off toward zero below the same last place, and their sum.

    That place stands ``bits`` below the largest exponent: of a product, the sum of the exponents of
    its factors, as it comes before normalization. What is zero has no exponent. A sum from 2^128 on
    is infinite before it is rounded.
    """
    if not all(map(math.isfinite, (*a, *b, total))):
        return _sum(profile, profile.accumulator, *zip(a, b), (total, 1.0))
    assert profile.operands is not None
    fmt = profile.operands.format
    terms = [
        (Fraction(x) * Fraction(y), exponent_in(fmt, x) + exponent_in(fmt, y))
        for x, y in zip(a, b)
        if x and y
    ]
    if total:
        terms.append((Fraction(total), exponent_in(FLOAT32, total)))
    if not terms:
        return 0.0
    place = Fraction(2) ** (max(exponent for _, exponent in terms) - profile.bits)
    exact = sum(math.trunc(number / place) for number, _ in terms) * place
    if exact == 0:
        return 0.0
    if abs(exact) >= Fraction(2) ** 128:
        return round_value(math.copysign(math.inf, exact), profile.accumulator)
    return round_fraction(exact, profile.accumulator)


_STEPS: dict[Step, Callable[[Arithmetic, Numbers, Numbers], float]] = {
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


def _vdpbf16ps_nan(a: Numbers, b: Numbers) -> np.float32 | None:
    """The NaN that VDPBF16PS is given: of the last pair that has one; None where there is none.

    In a pair, the even element comes before the odd one, ``a`` before ``b``; the accumulator comes
    last of all, and a NaN that is given before one that arises.
    """
    pairs = zip(_pairs(a), _pairs(b))
    return _last_nan((a0, b0, a1, b1) for (a0, a1), (b0, b1) in pairs)


def _tdpbf16ps_nan(profile: Arithmetic, a: Numbers, b: Numbers) -> np.float32:
    """The NaN that TDPBF16PS makes of a sum that was none before this chunk; it stays.

    That of the sum of even products, else that of the odd ones, else one that arises. Each of both
    has the NaN of the last product that was given one, ``a`` before ``b``, before one that arises.
    (The SDM does not say so; the CPU does.)
    """
    for left, right in zip(zip(*_pairs(a)), zip(*_pairs(b))):  # even ones, odd ones
        if (nan := _last_nan(zip(left, right))) is not None:
            return nan
        if math.isnan(_fma(profile, left, right)):
            break
    return _X86_NAN


def _last_nan(products: Iterable[tuple[float, ...]]) -> np.float32 | None:
    """Of the last ones that hold a NaN the first, made quiet; None where there is none."""
    for numbers in reversed(list(products)):
        for number in filter(math.isnan, numbers):
            bits = np.float32(number).view(np.uint32)
            return ((bits & np.uint32(0xFFFF0000)) | np.uint32(0x00400000)).view(np.float32)
    return None

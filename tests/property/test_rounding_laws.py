"""What every way of rounding must obey, on any float32 numbers and any format."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from onnxbf.custom_ops.numpy_api import quantize
from onnxbf.encoding import decode
from onnxbf.formats import (
    BFLOAT16,
    FORMATS,
    Cast,
    NumberFormat,
    Overflow,
    Rounding,
    Specials,
    Subnormals,
    parse_cast,
    parse_format,
)
from onnxbf.philox import random_words
from tests.implementations import FAST, KERNELS, Floats, Round, same_bits
from tests.other_sets import complete_sets

DETERMINISTIC = [mode for mode in Rounding if mode is not Rounding.STOCHASTIC]
SYMMETRIC = [mode for mode in Rounding if mode not in (Rounding.UP, Rounding.DOWN)]

formats = st.one_of(
    st.sampled_from(list(FORMATS.values())),
    st.builds(lambda x, y: parse_format(f"e{x}m{y}"), st.integers(2, 8), st.integers(1, 23)),
)
patterns = arrays.arrays(np.uint32, st.integers(1, 80), elements=st.integers(0, 2**32 - 1))
# All patterns are as likely as any other: so half of the time, numbers around 1 are drawn.
floats = st.one_of(
    patterns.map(lambda bits: bits.view(np.float32)),
    patterns.map(
        lambda bits: (bits & np.uint32(0x8FFFFFFF) | np.uint32(0x38000000)).view(np.float32)
    ),
)


def casts(modes: list[Rounding]) -> st.SearchStrategy[Cast]:
    return st.builds(
        Cast,
        formats,
        st.sampled_from(modes),
        st.sampled_from(Subnormals),
        st.sampled_from(Overflow),
        st.integers(1, 32),
    )


each = pytest.mark.parametrize("round_", FAST.values(), ids=FAST)
often = settings(deadline=None, max_examples=100)


@each
@often
@given(floats, casts(list(Rounding)))
def test_idempotent(round_: Round, values: Floats, cast: Cast) -> None:
    once = round_(values, cast, seed=1)
    assert same_bits(round_(once, cast, seed=2), once)


@each
@often
@given(floats, casts(DETERMINISTIC))
def test_monotone(round_: Round, values: Floats, cast: Cast) -> None:
    ordered = np.sort(values[~np.isnan(values)])
    rounded = round_(ordered, cast)
    rounded = rounded[~np.isnan(rounded)]  # overflow, where there is no infinity
    assert (rounded[1:] >= rounded[:-1]).all()


@each
@often
@given(floats, casts(SYMMETRIC))
def test_symmetric(round_: Round, values: Floats, cast: Cast) -> None:
    assert same_bits(round_(-values, cast), -round_(values, cast))


@each
@often
@given(floats, casts([Rounding.UP]))
def test_down_mirrors_up(round_: Round, values: Floats, cast: Cast) -> None:
    down = Cast(cast.format, Rounding.DOWN, cast.subnormals, cast.overflow)
    assert same_bits(-round_(-values, down), round_(values, cast))


def _within(values: Floats, fmt: NumberFormat) -> Floats:
    """Those of ``values`` between the largest numbers of ``fmt``."""
    return values[np.abs(values) <= np.float32(fmt.max)]


@each
@often
@given(floats, formats)
def test_down_and_up_enclose(round_: Round, values: Floats, fmt: NumberFormat) -> None:
    values = _within(values, fmt)
    assert (round_(values, Cast(fmt, Rounding.DOWN)) <= values).all()
    assert (round_(values, Cast(fmt, Rounding.UP)) >= values).all()


@each
@often
@given(floats, formats, st.integers(1, 32))
def test_all_modes_end_below_or_above(
    round_: Round, values: Floats, fmt: NumberFormat, bits: int
) -> None:
    values = _within(values, fmt)
    below, above = (round_(values, Cast(fmt, mode)) for mode in (Rounding.DOWN, Rounding.UP))
    for mode in Rounding:
        rounded = round_(values, Cast(fmt, mode, random_bits=bits), seed=3)
        assert ((rounded == below) | (rounded == above)).all(), mode


@each
@often
@given(floats, formats)
def test_nearest_is_nearest(round_: Round, values: Floats, fmt: NumberFormat) -> None:
    values = _within(values, fmt)
    exact = values.astype(np.float64)  # so are the differences of these numbers
    error = {
        mode: np.abs(round_(values, Cast(fmt, mode)).astype(np.float64) - exact)
        for mode in DETERMINISTIC
    }
    least = np.minimum(error[Rounding.DOWN], error[Rounding.UP])
    assert (error[Rounding.NEAREST_EVEN] == least).all()
    assert (error[Rounding.NEAREST_AWAY] == least).all()


@each
@often
@given(st.data(), casts(list(Rounding)))
def test_numbers_of_the_format_stay(round_: Round, data: st.DataObject, cast: Cast) -> None:
    fmt = cast.format
    codes = data.draw(arrays.arrays(np.uint32, 20, elements=st.integers(0, 2**fmt.bits - 1)))
    numbers = decode(codes, fmt)
    numbers = numbers[np.isfinite(numbers)]
    if cast.subnormals is Subnormals.FLUSH:
        numbers = numbers[(numbers == 0) | (np.abs(numbers) >= np.float32(fmt.smallest_normal))]
    assert same_bits(round_(numbers, cast, seed=4), numbers)


@each
@often
@given(floats, st.integers(-40, 40), st.sampled_from(DETERMINISTIC))
def test_scaling_by_powers_of_two_commutes(
    round_: Round, values: Floats, exponent: int, mode: Rounding
) -> None:
    """As long as neither side leaves the normal range of bfloat16."""
    magnitude = np.abs(values)
    values = values[(magnitude > 2.0**-80) & (magnitude < 2.0**80)]
    scale, cast = np.float32(2.0**exponent), Cast(BFLOAT16, mode)
    assert same_bits(round_(values * scale, cast), round_(values, cast) * scale)


@each
@often
@given(floats, st.integers(2, 8), st.integers(1, 21), st.integers(2, 10))
def test_odd_first_does_no_harm(
    round_: Round, values: Floats, exponent: int, mantissa: int, more: int
) -> None:
    """Rounding to odd, then to nearest, is rounding to nearest if two bits are to spare.

    Source: Boldo and Melquiond, "Emulation of FMA and correctly rounded sums: proved algorithms
    using rounding to odd", IEEE Transactions on Computers 57(4), 2008.
    """
    narrow = parse_format(f"e{exponent}m{mantissa}")
    wide = parse_format(f"e8m{min(mantissa + more, 23)}")
    values = values[np.abs(values) > 2.0**-120]
    odd = round_(values, Cast(wide, Rounding.TO_ODD))
    assert same_bits(round_(odd, Cast(narrow)), round_(values, Cast(narrow)))


@each
@often
@given(floats, casts(list(Rounding)))
def test_nan_stays_nan_zero_stays_zero(round_: Round, values: Floats, cast: Cast) -> None:
    values = np.concatenate([values, np.float32([np.nan, -np.nan, 0.0, -0.0])])
    rounded = round_(values, cast, seed=5)
    assert np.isnan(rounded[np.isnan(values)]).all()
    assert (np.signbit(rounded) == np.signbit(values)).all()
    assert (rounded[values == 0] == 0).all()


@each
@pytest.mark.parametrize("name", FORMATS)
def test_infinities_bypass_stochastic_rounding(round_: Round, name: str) -> None:
    """Adding random bits to an infinity would make a NaN of it."""
    values = np.tile(np.float32([np.inf, -np.inf]), 500)
    for overflow in Overflow:
        nearest = round_(values, Cast(FORMATS[name], overflow=overflow))
        cast = Cast(FORMATS[name], Rounding.STOCHASTIC, overflow=overflow)
        assert same_bits(round_(values, cast, seed=6), nearest)
        if FORMATS[name].specials is Specials.IEEE and overflow is Overflow.INFINITY:
            assert same_bits(nearest, values)


@often
@given(floats, casts(list(Rounding)), st.integers(0, 2**64 - 1), st.integers(0, 2**40))
def test_every_instruction_set_gives_the_same_bits(
    values: Floats, cast: Cast, seed: int, offset: int
) -> None:
    key = {"seed": seed, "node": 9, "step": 10, "offset": offset}
    wanted = FAST["numpy"](values, cast, **key)
    for name in complete_sets():
        assert same_bits(KERNELS[f"c++ {name}"](values, cast, **key), wanted), name


@often
@given(st.integers(1, 700), st.lists(st.integers(0, 700), max_size=6), st.integers(0, 2**40))
def test_every_split_gives_the_same_bits(count: int, cuts: list[int], offset: int) -> None:
    values = np.random.default_rng(count).standard_normal(count).astype(np.float32)
    whole = quantize(values, "bf16:sr", seed=7, offset=offset)
    ends = sorted({0, count, *(cut for cut in cuts if cut < count)})
    parts = [
        quantize(values[begin:end], "bf16:sr", seed=7, offset=offset + begin)
        for begin, end in itertools.pairwise(ends)
    ]
    assert same_bits(np.concatenate(parts), whole)


@each
@pytest.mark.parametrize("text", ["bf16:sr", "fp16:sr", "e4m3:sr", "e2m3:sr", "bf16:sr{bits=4}"])
@pytest.mark.parametrize("sixteenths", [1, 5, 8, 11, 15])
@pytest.mark.parametrize("scale", [1.0, -2.0])
def test_stochastic_rounding_is_unbiased(
    round_: Round, text: str, sixteenths: int, scale: float
) -> None:
    """The share that goes away from zero is the fraction, within 5 sigma (1 in 3.5 million)."""
    count, cast, fraction = 1 << 17, parse_cast(text), sixteenths / 16
    value = np.float32(scale * (1 + cast.format.eps * fraction))
    rounded = round_(np.full(count, value), cast, seed=2024, node=sixteenths)
    away = np.count_nonzero(np.abs(rounded) > np.abs(value))
    assert abs(away - count * fraction) < 5 * np.sqrt(count * fraction * (1 - fraction))


@each
def test_stochastic_rounding_of_tiny_numbers_is_unbiased(round_: Round) -> None:
    """Below the smallest number of fp16, 2^-24: an eighth of it comes up once in eight times."""
    count = 1 << 17
    rounded = round_(np.full(count, np.float32(2.0**-27)), parse_cast("fp16:sr"), seed=1)
    up = np.count_nonzero(rounded == np.float32(2.0**-24))
    assert up + np.count_nonzero(rounded == 0) == count
    assert abs(up - count / 8) < 5 * np.sqrt(count * 1 / 8 * 7 / 8)


def test_few_random_bits_cut_the_fraction_off() -> None:
    """With one bit, a fraction below a half never goes up, and one above does half of the time."""
    values = np.float32(1 + 2.0**-7 * np.array([0.49, 0.51])).repeat(1 << 15).reshape(2, -1)
    ups = np.count_nonzero(quantize(values, "bf16:sr{bits=1}", seed=3) > values, axis=1)
    assert ups[0] == 0
    assert abs(ups[1] - (1 << 14)) < 5 * np.sqrt(1 << 15) / 2


def test_words_repeat_for_the_same_key_alone() -> None:
    values = np.full(1000, np.float32(1 + 2.0**-8))
    first = quantize(values, "bf16:sr", seed=1, node=2, step=3)
    assert same_bits(quantize(values, "bf16:sr", seed=1, node=2, step=3), first)
    for other in ({"seed": 2}, {"node": 3}, {"step": 4}, {"offset": 1}):
        key = {"seed": 1, "node": 2, "step": 3} | other
        assert not same_bits(quantize(values, "bf16:sr", **key), first)
    words = random_words(1000, seed=1, node=2, step=3)
    assert ((first > values) == (words >= 1 << 31)).all()

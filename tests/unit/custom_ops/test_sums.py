"""Sums and exponentials of the kernels, bit for bit against their definitions."""

from __future__ import annotations

import functools

import gmpy2
import numpy as np
import pytest

from onnxbf.arithmetic import PROFILES, parse_arithmetic
from onnxbf.custom_ops.kernels import Kernels, kernels
from onnxbf.custom_ops.library import RandomKey
from onnxbf.custom_ops.reference_sums import exponential, sums
from onnxbf.errors import UnsupportedError
from tests import operands
from tests.implementations import Floats, same_bits
from tests.other_sets import complete_sets
from tests.unit.custom_ops.test_products import TEXTS

SETS = [kernels(name) for name in complete_sets()]
KEY = {"seed": 0x9E3779B97F4A7C15, "node": 0xC0FFEE, "step": 7}
SHAPES = [((3, 7), 1), ((5, 35), 0), ((2, 9, 3), 1), ((2, 0), 1), ((1, 1), 0)]  # and the axis

each_set = pytest.mark.parametrize("used", SETS, ids=complete_sets())


@functools.cache
def _cases(text: str) -> list[tuple[Floats, int, Floats]]:
    """Numbers, the axis and their sums, worked out once for all instruction sets."""
    profile, rng = parse_arithmetic(text), np.random.default_rng(len(text))
    cases = []
    for make in operands.ALL:
        for shape, axis in SHAPES:
            x = make(rng, shape)
            cases.append((x, axis, sums(profile, x, [axis], **KEY).squeeze(axis)))
    return cases


@each_set
@pytest.mark.parametrize("text", TEXTS)
def test_every_profile_equals_its_definition(used: Kernels, text: str) -> None:
    profile = parse_arithmetic(text)
    for x, axis, wanted in _cases(text):
        got = used.sums(x, profile, axis, key=RandomKey(**KEY))
        assert same_bits(got, wanted), (x, axis)


@pytest.mark.parametrize("text", TEXTS)
def test_sums_are_products_with_ones(text: str) -> None:
    """Also where a sum has more terms than are packed at a time, and on several threads."""
    profile, rng = parse_arithmetic(text), np.random.default_rng(3)
    x, used, key = operands.spread(rng, (41, 1030)), SETS[-1], RandomKey(**KEY)
    wanted = used.matmul(x, np.ones((1030, 1), np.float32), profile, key=key)[:, 0]
    for each in SETS:
        for threads in (1, 2, 3):
            got = each.sums(x, profile, 1, key=key, threads=threads)
            assert same_bits(got, wanted), (each.name, threads)
    turned = np.ascontiguousarray(x.T)
    assert same_bits(used.sums(turned, profile, 0, key=key, threads=2), wanted)


@pytest.mark.parametrize("shape", [(9, 1100), (2051, 37), (7, 16), (3, 513), (4, 1), (0, 5)])
def test_lines_are_summed_in_order(shape: tuple[int, int]) -> None:
    """In float32, NumPy adds line by line, too."""
    for make in operands.ALL:
        x = make(np.random.default_rng(5), shape)
        with np.errstate(all="ignore"):
            wanted = np.zeros(shape[1], np.float32)
            for line in x:
                wanted += line
        wanted = np.where(np.isnan(wanted), np.uint32(0x7FC00000).view(np.float32), wanted)
        for used in SETS:
            for threads in (1, 3):
                got = used.sums(x, PROFILES["fp32"], 0, threads=threads)
                assert same_bits(got, wanted), (used.name, threads)


def test_a_nan_that_vdpbf16ps_gives_is_found_far_back() -> None:
    x = np.ones((2, 1000), np.float32)
    x[0, 700] = np.uint32(0xFF812345).view(np.float32)
    x[1, 3], x[1, 4] = np.inf, -np.inf
    for used in SETS:
        got = used.sums(x, PROFILES["avx512_bf16"], 1).view(np.uint32)
        assert [hex(bits) for bits in got] == ["0xffc10000", "0xffc00000"]


def test_a_nan_that_tdpbf16ps_gives_is_found_far_back() -> None:
    """That of the chunk which makes the sum one, whatever follows."""
    x = np.ones((3, 1000), np.float32)
    x[0, 700], x[0, 800] = np.array([0xFF812345, 0x7FC20000], np.uint32).view(np.float32)
    x[1, 3], x[1, 4], x[1, 900] = np.inf, -np.inf, np.nan
    x[2, 999] = np.nan
    for used in SETS:
        got = used.sums(x, PROFILES["amx_bf16"], 1).view(np.uint32)
        assert [hex(bits) for bits in got] == ["0xffc10000", "0xffc00000", "0x7fc00000"]


def test_an_unknown_profile_is_refused() -> None:
    wrong = PROFILES["exact"].__class__("half", "no kernel has it")
    with pytest.raises(UnsupportedError, match="No kernel computes as half"):
        SETS[0].sums(np.ones((1, 1), np.float32), wrong)


def _by_mpfr(x: float) -> float:
    """In enough bits to round them once more, and into the range of float32."""
    with gmpy2.context(precision=200):
        power = gmpy2.exp(gmpy2.mpfr(x))
    with gmpy2.context(precision=24, emax=128, emin=-148, subnormalize=True):
        return float(+power)


# Where powers become subnormal, zero, one and infinite.
HARD = (
    -104.0,
    -103.97208,
    -87.33655,
    -87.33654,
    -(2.0**-24),
    -(2.0**-25),
    -(2.0**-26),
    -1e-30,
    88.72284,
)


def _exponents() -> Floats:
    rng = np.random.default_rng(5)
    parts = [
        -105 * rng.random(1500),
        np.ldexp(rng.standard_normal(700), rng.integers(-27, 7, 700)),
        -rng.random(300) * 17.5 - 87,  # subnormal powers
        HARD,
    ]
    return np.concatenate(parts).astype(np.float32)


def test_exponentials_are_rounded_once() -> None:
    x = _exponents()
    wanted = np.array([_by_mpfr(float(each)) for each in x], np.float32)
    assert same_bits(np.array([exponential(float(each)) for each in x], np.float32), wanted)
    for used in SETS:
        assert same_bits(used.exponentials(x), wanted), used.name
        assert same_bits(used.exponentials(x, threads=2), wanted), used.name


def test_exponentials_of_special_numbers() -> None:
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan, 3e38, -3e38, -1e-45], np.float32)
    wanted = np.array([1, 1, np.inf, 0, np.nan, np.nan, np.inf, 0, 1], np.float32)
    for used in SETS:
        got = used.exponentials(x)
        np.testing.assert_array_equal(got, wanted)
        assert {*got[4:6].view(np.uint32).tolist()} == {0x7FC00000}
    for number, power in zip(x, wanted):
        np.testing.assert_equal(exponential(float(number)), float(power))


def test_doubtful_exponentials_are_computed_anew() -> None:
    """Numbers whose double lies within 2^-46 of a middle between two float32 numbers."""
    rng = np.random.default_rng(6)
    x = (-17 * rng.random(1 << 22)).astype(np.float32)
    powers = np.exp(x.astype(np.float64)).view(np.uint64)
    x = x[((powers - np.uint64((1 << 28) - 128)) & np.uint64((1 << 29) - 1)) <= 256]
    assert len(x)
    wanted = np.array([_by_mpfr(float(each)) for each in x], np.float32)
    assert all(same_bits(used.exponentials(x), wanted) for used in SETS)

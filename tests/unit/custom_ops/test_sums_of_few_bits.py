"""Accumulators of numbers of few bits: products that end halfway, or just beside."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.random import Generator

from onnxbf.arithmetic import parse_arithmetic
from onnxbf.custom_ops.kernels import Kernels, kernels
from onnxbf.custom_ops.reference_products import product
from onnxbf.formats import BFLOAT16, FORMATS, Cast
from onnxbf.rounding import round_array
from tests.implementations import Floats, same_bits
from tests.other_sets import complete_sets

PROFILE = parse_arithmetic("sequential{format=bf16}")
BF16 = Cast(BFLOAT16)
SCALAR = kernels("scalar")
SETS = [kernels(name) for name in complete_sets()]
each_set = pytest.mark.parametrize("used", SETS, ids=complete_sets())


def _ends_halfway(first: int, second: int) -> bool:
    """Whether the product of two significands lies in the middle of two of 8 bits."""
    place = 1 << (first * second).bit_length() - 8
    return first * second % place == place // 2


HALFWAY = [
    (first, second)
    for first in range(128, 256)
    for second in range(first, 256)
    if _ends_halfway(first, second)
]


def normal(rng: Generator, shape: tuple[int, int]) -> Floats:
    return rng.standard_normal(shape).astype(np.float32)


def integers(rng: Generator, shape: tuple[int, int]) -> Floats:
    return rng.integers(-255, 256, shape).astype(np.float32)


def wide(rng: Generator, shape: tuple[int, int]) -> Floats:
    return np.ldexp(normal(rng, shape), rng.integers(-40, 41, shape)).astype(np.float32)


def tiny(rng: Generator, shape: tuple[int, int]) -> Floats:
    return normal(rng, shape) * np.float32(2.0**-66)


def huge(rng: Generator, shape: tuple[int, int]) -> Floats:
    return normal(rng, shape) * np.float32(2.0**62)


def sparse(rng: Generator, shape: tuple[int, int]) -> Floats:
    return normal(rng, shape) * rng.integers(-1, 2, shape).astype(np.float32)


def one_special(rng: Generator, shape: tuple[int, int]) -> Floats:
    numbers = normal(rng, shape)
    numbers[-1, -1] = rng.choice(np.float32([np.inf, -np.inf, np.nan, 3e38, 1e-40]))
    return numbers


KINDS = [normal, integers, wide, tiny, huge, sparse, one_special]


@each_set
@pytest.mark.parametrize("make", KINDS)
def test_long_sums_are_those_of_the_scalar_kernels(
    used: Kernels, make: Callable[[Generator, tuple[int, int]], Floats]
) -> None:
    rng = np.random.default_rng(3)
    for rows, inner, columns in ((29, 450, 70), (12, 193, 33)):
        a = round_array(make(rng, (rows, inner)), BF16)
        b = round_array(make(rng, (inner, columns)), BF16)
        got = used.matmul(a, b, PROFILE)
        assert same_bits(got, SCALAR.matmul(a, b, PROFILE))
        corner = product(PROFILE, a[-1:], b[:, -1:])
        assert same_bits(got[-1:, -1:], corner)


@each_set
def test_what_comes_before_a_product_that_ends_halfway(used: Kernels) -> None:
    """However small it is, it says where that is rounded to; and where nothing does, evenness."""
    before = np.float32([0, *(sign * 2.0**-power for power in range(14, 60) for sign in (1, -1))])
    chosen = np.float32(HALFWAY[:: len(HALFWAY) // 40])
    a = np.stack([np.ones(len(before), np.float32), np.ones(len(before), np.float32)], axis=1)
    for first, second in chosen:
        a[:, 0], a[:, 1] = before * first * second, first
        b = np.float32([[1, 1], [second, -second]])
        a[:, 0] = round_array(a[:, 0], BF16)
        assert same_bits(used.matmul(a, b, PROFILE), product(PROFILE, a, b))


def test_rounding_before_would_differ() -> None:
    """What the test above asks for is not what a multiply-add of float32, rounded again, gives."""
    first, second = HALFWAY[0]
    for small in (2.0**-20, -(2.0**-20)):
        exact = float(
            product(PROFILE, np.float32([[small, first]]), np.float32([[1], [second]]))[0, 0]
        )
        assert (exact > first * second) == (small > 0)


@each_set
def test_a_zero_keeps_its_sign_from_part_to_part(used: Kernels) -> None:
    a, b = np.zeros((1, 400), np.float32), np.full((400, 1), -1, np.float32)
    a[0, 0], b[0, 0] = 2.0**-80, -(2.0**-80)
    wanted = product(PROFILE, a, b)
    assert np.signbit(wanted[0, 0])
    assert same_bits(used.matmul(a, b, PROFILE), wanted)


FEW_BITS = [
    "sequential{format=fp16}",
    "sequential{format=e6m9}",
    "sequential{format=e5m7,overflow=saturate}",
    "sequential{format=e6m9,subnormals=flush}",
    "chunked{size=64,inner=e6m9,outer=e6m9}",
]


@each_set
@pytest.mark.parametrize("text", FEW_BITS)
@pytest.mark.parametrize("scale", [2.0**-6, 1, 64, 0])
def test_narrow_accumulators_of_fp8_numbers(used: Kernels, text: str, scale: float) -> None:
    """Halves at every turn, subnormal numbers, and products that some formats are too small for."""
    profile, cast, rng = parse_arithmetic(text), Cast(FORMATS["e4m3fn"]), np.random.default_rng(5)
    rows, inner, columns = 14, 210, 40
    size = np.float32(scale) or np.ldexp(np.float32(1), rng.integers(-8, 9, (inner, columns)))
    a = round_array(normal(rng, (rows, inner)) * np.float32(scale or 1), cast)
    b = round_array(normal(rng, (inner, columns)) * size, cast)
    got = used.matmul(a, b, profile)
    assert same_bits(got, SCALAR.matmul(a, b, profile))
    assert same_bits(got[-1:, -1:], product(profile, a[-1:], b[:, -1:]))

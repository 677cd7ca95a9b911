"""Block formats against their definition: exact fractions, and the casts of ml_dtypes."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from onnxbf.block_cast import BLOCK_CASTS, BlockCast, parse_block_cast
from onnxbf.block_quantizer import quantize_blocks
from onnxbf.errors import NameUnknown, SpecError, UnsupportedError
from onnxbf.philox import random_words
from tests.implementations import same_bits

Array = NDArray[Any]
RNG = np.random.default_rng(0)
CASTS = [*BLOCK_CASTS, "mxfp8{format=e5m2}", "mxfp6{format=e2m3}"]
# The exponent and the magnitude of the largest element, as the specification has them, and a type
# that rounds to elements by itself.
ELEMENTS: dict[str, tuple[int, float, Any]] = {
    "mxfp8": (8, 448, ml_dtypes.float8_e4m3fn),
    "mxfp8{format=e5m2}": (15, 57344, ml_dtypes.float8_e5m2),
    "mxfp6": (4, 28, ml_dtypes.float6_e3m2fn),
    "mxfp6{format=e2m3}": (2, 7.5, ml_dtypes.float6_e2m3fn),
    "mxfp4": (2, 6, ml_dtypes.float4_e2m1fn),
    "mxint8": (0, 127 / 64, None),
}


def _element(scaled: Fraction, text: str) -> Fraction:
    """A scaled number as an element; ties to even."""
    _, largest, dtype = ELEMENTS[text]
    within = max(min(scaled, Fraction(largest)), -Fraction(largest))
    if dtype is None:
        return Fraction(round(within * 64), 64)
    return Fraction(float(np.float64(float(within)).astype(dtype)))


def _by_definition(row: Array, text: str, block: int = 32) -> list[float]:
    """A row, which is one-dimensional, in blocks; all of it exact."""
    found: list[float] = []
    for start in range(0, len(row), block):
        numbers = [float(number) for number in row[start : start + block]]
        if not all(map(math.isfinite, numbers)):
            found += [math.nan] * len(numbers)
            continue
        largest = max(map(abs, numbers))
        floor = math.frexp(largest)[1] - 1 if largest else -1000
        scale = Fraction(2) ** max(floor - ELEMENTS[text][0], -127)
        found += [float(_element(Fraction(x) / scale, text) * scale) for x in numbers]
    return found


KINDS = {
    "normal": RNG.normal(size=300),
    "wide": RNG.normal(size=300) * np.exp2(RNG.integers(-40, 40, 300)),
    "within one block": np.exp2(RNG.uniform(-20, 1, 300)) * RNG.choice([-1, 1], 300),
    "equal": np.full(70, 0.3),
    "zeros": np.zeros(40),
    "a block of zeros": np.r_[np.zeros(32), np.ones(40)],
    "subnormal": RNG.normal(size=100) * 1e-40,
    "smallest": np.full(5, 1e-45),
    "largest": np.r_[np.full(3, 3.4028235e38), RNG.normal(size=40) * 1e38],
    "ties": np.r_[2.0, np.arange(-64, 64) / 32 + 1 / 64],
}


@pytest.mark.parametrize("text", CASTS)
@pytest.mark.parametrize("kind", KINDS)
def test_by_definition(kind: str, text: str) -> None:
    x = KINDS[kind].astype(np.float32)
    expected = np.array(_by_definition(x, text), np.float32)
    found = quantize_blocks(x, parse_block_cast(text))
    assert np.array_equal(found, expected)
    assert np.array_equal(np.signbit(found), np.signbit(x))  # zeros keep theirs


@pytest.mark.parametrize("text", CASTS)
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_spoils_its_block_alone(text: str, special: float) -> None:
    x = RNG.normal(size=100).astype(np.float32)
    x[40] = special
    found = quantize_blocks(x, parse_block_cast(text))
    assert np.isnan(found[32:64]).all()
    assert np.array_equal(found, np.array(_by_definition(x, text), np.float32), equal_nan=True)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
def test_blocks_lie_along_an_axis(axis: int) -> None:
    x = (RNG.normal(size=(5, 37, 4)) * np.exp2(RNG.integers(-9, 9, (5, 37, 4)))).astype(np.float32)
    cast = parse_block_cast("mxfp4{block=8}").along(axis)
    rows = np.moveaxis(x, axis, -1).reshape(-1, x.shape[axis])
    expected = np.array([_by_definition(row, "mxfp4", 8) for row in rows], np.float32)
    found = np.moveaxis(quantize_blocks(x, cast), axis, -1).reshape(rows.shape)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("text", CASTS)
def test_twice_is_once(text: str) -> None:
    once = quantize_blocks(KINDS["within one block"].astype(np.float32), parse_block_cast(text))
    assert same_bits(quantize_blocks(once, parse_block_cast(text)), once)


def test_other_roundings() -> None:
    x = np.array([1.0, 1.0 + 1 / 16, 1.0 + 1 / 16 + 1 / 64, -1.0 - 1 / 16], np.float32)
    for rounding, expected in (
        ("rne", [1, 1, 1.125, -1]),
        ("rna", [1, 1.125, 1.125, -1.125]),
        ("rtz", [1, 1, 1, -1]),
    ):
        cast = parse_block_cast(f"mxfp8{{rounding={rounding}}}")
        assert quantize_blocks(x, cast).tolist() == expected


@pytest.mark.parametrize("text", BLOCK_CASTS)
def test_stochastic_rounding_is_unbiased(text: str) -> None:
    x = np.full((4000, 3), [1.0, 0.33, -0.71], np.float32)
    cast = parse_block_cast(f"{text}{{rounding=sr}}")
    found = quantize_blocks(x, cast, random_words(x.size, seed=1, node=2, step=3))
    spread = found.std(0, dtype=np.float64) / math.sqrt(len(x))
    assert (np.abs(found.mean(0, dtype=np.float64) - x[0]) <= 4 * spread + 1e-12).all()
    assert found[:, 1].std() > 0


def test_texts() -> None:
    for text in (*CASTS, "mxfp8{format=e5m2,block=16,rounding=sr}", "mxint8{block=1}"):
        assert str(parse_block_cast(text)) == text
    for text, error, message in (
        ("mxfp8{format=e3m2}", NameUnknown, "did you mean 'e5m2'"),
        ("mxfp8{block=0}", SpecError, "blocks of 0, but must have 1 or more"),
        ("mxfp8{block=x}", SpecError, "1 or more"),
        ("mxfp8{blok=8}", NameUnknown, "did you mean 'block'"),
        ("mxfp8{rounding=rup}", NameUnknown, "Block format 'mxfp8' has no rounding 'rup'"),
        ("mxfp9", NameUnknown, "did you mean 'mxfp8'"),
    ):
        with pytest.raises(error, match=message):
            parse_block_cast(text)
    with pytest.raises(UnsupportedError, match="axis is 2, but x has 1 dimensions"):
        quantize_blocks(np.ones(3, np.float32), parse_block_cast("mxfp8").along(2))
    assert isinstance(parse_block_cast("mxfp4"), BlockCast)

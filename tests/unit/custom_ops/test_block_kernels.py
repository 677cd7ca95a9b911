"""Kernels that quantize in blocks give the bits of their specification."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from onnxbf.block_cast import BLOCK_CASTS, parse_block_cast
from onnxbf.block_quantizer import quantize_blocks
from onnxbf.custom_ops.kernels import kernels
from onnxbf.custom_ops.library import RandomKey
from onnxbf.philox import random_words
from tests.implementations import same_bits
from tests.other_sets import complete_sets

Array = NDArray[Any]
KEY = {"seed": 2**40 + 7, "node": 99, "step": 3}
CASTS = [*BLOCK_CASTS, "mxfp8{format=e5m2}", "mxfp6{format=e2m3}"]
CASTS += [
    "mxfp8{rounding=rna}",
    "mxint8{rounding=rtz}",
    "mxfp4{rounding=sr}",
    "mxint8{rounding=sr}",
]


def _numbers(shape: tuple[int, ...], seed: int = 0) -> Array:
    """Of all magnitudes, zeros, subnormal numbers and a few that are not finite."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape) * np.exp2(rng.integers(-20, 20, shape))
    x[rng.random(shape) < 0.1] = 0
    flat = x.reshape(-1)
    flat[: flat.size // 4] *= 1e-38
    with np.errstate(over="ignore"):
        flat[flat.size // 2 : flat.size // 2 + 40] *= 1e35
        x = x.astype(np.float32)
    x.reshape(-1)[:: max(97, x.size // 9)] = rng.choice([np.nan, np.inf, -np.inf, -0.0, 3e38])
    return x


def _check(x: Array, text: str, axis: int) -> None:
    cast = parse_block_cast(text).along(axis)
    expected = quantize_blocks(x, cast, random_words(x.size, **KEY))
    for name in complete_sets():
        for threads in (1, 3):
            found = kernels(name).quantize_blocks(x, cast, RandomKey(**KEY), threads=threads)
            assert same_bits(found, expected), (name, threads)


@pytest.mark.parametrize("text", CASTS)
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shape", [(3, 70, 5), (33, 2, 31), (1, 1, 1), (40, 64, 64)], ids=str)
def test_they_give_the_bits_of_the_specification(
    shape: tuple[int, ...], axis: int, text: str
) -> None:
    _check(_numbers(shape), text, axis)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("shape", [(3, 40_000), (700, 300)], ids=str)
def test_large_tensors(shape: tuple[int, ...], axis: int) -> None:
    _check(_numbers(shape), "mxfp8{rounding=sr}", axis)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    axis=st.integers(-2, 1),
    block=st.integers(1, 50),
    seed=st.integers(0, 1000),
    name=st.sampled_from(BLOCK_CASTS),
)
def test_blocks_of_any_length(
    shape: tuple[int, int], axis: int, block: int, seed: int, name: str
) -> None:
    _check(_numbers(shape, seed), f"{name}{{block={block}}}", axis)

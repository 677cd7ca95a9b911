"""Kernels that round scaled tensors give the bits of their specification."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from onnxbf.custom_ops.kernels import kernels
from onnxbf.custom_ops.library import RandomKey
from onnxbf.philox import random_words
from onnxbf.scaled_cast import parse_scaled_cast
from onnxbf.scaled_quantizer import first_state, next_state, quantize_scaled
from tests.implementations import same_bits
from tests.other_sets import complete_sets

Array = NDArray[Any]
KEY = {"seed": 2**40 + 7, "node": 99, "step": 3}
CASTS = [
    "e4m3fn:rne{scaling=current}",
    "e5m2:sr{scaling=current,scale=power_of_two,margin=2}",
    "e2m1:rna{scaling=current,margin=15}",
    "e5m2:sr{bits=8,scaling=delayed,history=3}",
    "fp16:rtz{scaling=delayed,history=1,amax=most_recent}",
    "e4m3:rne{subnormals=flush,scaling=delayed,history=40,scale=power_of_two}",
]


def _numbers(size: int, seed: int, magnitude: float, special: float | None) -> Array:
    rng = np.random.default_rng(seed)
    with np.errstate(all="ignore"):
        x = rng.normal(size=size) * np.exp2(rng.integers(-20, 4, size)) * magnitude
        x = x.astype(np.float32)
    if special is not None and size:
        x[size // 2] = special
    return x


def _state(text: str, seed: int) -> Array | None:
    """After some steps, one of them with a NaN."""
    cast, rng = parse_scaled_cast(text), np.random.default_rng(seed)
    if not cast.history:
        return None
    state = first_state(cast)
    for largest in (0.0, 3e-5, 70.0, np.nan, *rng.exponential(size=2)):
        state = next_state(np.array([largest], np.float32), cast, state)
    return state


def _check(x: Array, text: str, seed: int = 0) -> None:
    cast, state = parse_scaled_cast(text), _state(text, seed)
    expected = quantize_scaled(x, cast, state, random_words(x.size, **KEY))
    after = None if state is None else next_state(x, cast, state)
    for name in complete_sets():
        for threads in (1, 3):
            found, then = kernels(name).quantize_scaled(
                x, cast, state, RandomKey(**KEY), threads=threads
            )
            assert same_bits(found, expected), (name, threads)
            assert (then is None) == (after is None)
            assert then is None or after is None or same_bits(then, after), (name, threads)


@pytest.mark.parametrize("text", CASTS)
@pytest.mark.parametrize("special", [None, np.inf, np.nan, 3e38])
@pytest.mark.parametrize("magnitude", [0.0, 1e-43, 1e-12, 1.0, 1e30])
def test_they_give_the_bits_of_the_specification(
    magnitude: float, special: float | None, text: str
) -> None:
    for size in (0, 1, 1500):
        _check(_numbers(size, 0, magnitude, special), text)


@pytest.mark.parametrize("text", CASTS)
def test_large_tensors(text: str) -> None:
    x = _numbers(100_003, 1, 1.0, None)
    x[-1] = 1000  # the largest is found in the last piece
    _check(x.reshape(1, -1), text)


@settings(max_examples=40, deadline=None)
@given(
    size=st.integers(0, 3000),
    seed=st.integers(0, 1000),
    text=st.sampled_from(CASTS),
    power=st.integers(-120, 100),
)
def test_tensors_of_any_length(size: int, seed: int, text: str, power: int) -> None:
    _check(_numbers(size, seed, 2.0**power, None), text, seed)

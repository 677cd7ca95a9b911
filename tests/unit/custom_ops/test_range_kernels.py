"""Kernels that quantize over ranges give the bits of their specification."""

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
from onnxbf.range_cast import RANGE_CASTS, parse_range_cast
from onnxbf.range_quantizer import quantize_range
from tests.implementations import same_bits
from tests.other_sets import complete_sets

Array = NDArray[Any]
KEY = {"seed": 2**40 + 7, "node": 99, "step": 3}
SHAPES = [(2, 1), (2, 3), (5, 16), (3, 17, 5), (64, 33)]
LARGE = [(3, 40_000), (900, 20)]  # several tasks for a row, several rows for a task
KINDS = ("normal", "one wide row", "equal", "positive", "zeros", "tiny", "signed zeros")


def _numbers(kind: str, shape: tuple[int, ...]) -> Array:
    rng = np.random.default_rng(len(kind) + sum(shape))
    x = rng.normal(size=shape).astype(np.float32)
    if kind == "one wide row":
        x[-1] *= 1000
    made = {
        "equal": np.full(shape, 0.3),
        "positive": np.abs(x) + 1,
        "zeros": np.zeros(shape),
        "tiny": x * np.float32(1e-40),
        "signed zeros": np.copysign(0, x),
    }
    return np.asarray(made.get(kind, x), np.float32)


def _without_payloads(x: Array) -> Array:
    return np.where(np.isnan(x), np.float32(np.nan), x)


def _check(x: Array, text: str) -> None:
    cast = parse_range_cast(text)
    expected = quantize_range(x, cast, random_words(x.size, **KEY))
    for name in complete_sets():
        for threads in (1, 3):
            found = kernels(name).quantize_range(x, cast, RandomKey(**KEY), threads=threads)
            assert same_bits(_without_payloads(found), _without_payloads(expected)), (name, threads)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", RANGE_CASTS)
@pytest.mark.parametrize("bits", [2, 5, 8])
def test_they_give_the_bits_of_the_specification(name: str, bits: int, kind: str) -> None:
    for shape in SHAPES:
        _check(_numbers(kind, shape), f"{name}{{bits={bits}}}")


@pytest.mark.parametrize("name", RANGE_CASTS)
@pytest.mark.parametrize("shape", LARGE)
def test_large_tensors(name: str, shape: tuple[int, ...]) -> None:
    _check(_numbers("one wide row", shape), name)


@pytest.mark.parametrize("name", RANGE_CASTS)
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf, 3.4e38])
def test_special_numbers(name: str, special: float) -> None:
    for place in (0, 37, 99):
        x = _numbers("normal", (5, 20))
        x.ravel()[place] = special
        x.ravel()[50] = -3.4e38
        _check(x, name)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(2, 40),
    columns=st.integers(1, 40),
    spread=st.floats(0, 12),
    seed=st.integers(0, 1000),
    name=st.sampled_from(RANGE_CASTS),
)
def test_rows_of_any_ranges(rows: int, columns: int, spread: float, seed: int, name: str) -> None:
    rng = np.random.default_rng(seed)
    scale = np.exp(spread * rng.normal(size=(rows, 1)))
    _check((rng.normal(size=(rows, columns)) * scale).astype(np.float32), f"{name}{{bits=3}}")

"""Measures of difference on numbers small enough to check by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from onnxbf.difference import TensorDifference, difference
from onnxbf.formats import BFLOAT16, FLOAT32


def _measure(a: object, b: object, tolerance: float = 0.1) -> TensorDifference:
    left, right = np.asarray(a), np.asarray(b)
    return difference(left, right, BFLOAT16, names=("p", "q"), tolerance=tolerance)


def test_by_hand() -> None:
    found = _measure(np.float32([3.0, 0.0]), np.float32([3.0, 4.0]), tolerance=2.0)
    assert (found.max_abs, found.mean_abs) == (4.0, 2.0)
    assert (found.max_rel, found.mean_rel) == (0.0, 0.0)
    assert found.norm_rel == pytest.approx(4 / 3)
    assert found.cosine == pytest.approx(0.6)
    assert found.snr_db == pytest.approx(20 * math.log10(3 / 4))
    assert found.within


def test_units_in_the_last_place_are_the_formats() -> None:
    one, next_up = np.float32([1.0]), np.float32([1.0 + 2**-7])
    assert _measure(one, next_up).max_ulp == 1.0
    below = difference(one, next_up, FLOAT32, names=("p", "q"), tolerance=0.1)
    assert below.max_ulp == 2**16
    tiny = np.float32([0.0]), np.float32([BFLOAT16.smallest_subnormal])
    assert _measure(*tiny).max_ulp == 1.0


def test_equal_tensors() -> None:
    found = _measure(np.float32([1, 2]), np.float32([1, 2]), tolerance=0.0)
    assert (found.norm_rel, found.snr_db, found.within) == (0.0, math.inf, True)
    assert found.cosine == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("a", "b", "mismatches"),
    [
        ([np.nan, 1], [np.nan, 1], 0),
        ([np.inf, 1], [np.inf, 1], 0),
        ([np.inf, 1], [-np.inf, 1], 1),
        ([np.nan, 1], [2, 1], 1),
        ([1, 1], [np.inf, np.nan], 2),
    ],
)
def test_special_values_match_or_count(a: list[float], b: list[float], mismatches: int) -> None:
    found = _measure(np.float32(a), np.float32(b))
    assert found.special_mismatches == mismatches
    assert found.within == (mismatches == 0)


def test_zero_and_empty_references() -> None:
    assert _measure(np.zeros(2, np.float32), np.float32([0, 1])).norm_rel == math.inf
    assert _measure(np.zeros(2, np.float32), np.zeros(2, np.float32)).within
    assert _measure(np.zeros(0, np.float32), np.zeros(0, np.float32)).within


def test_what_is_no_floating_point_must_be_equal() -> None:
    assert _measure([1, 2], [1, 2]).within
    assert not _measure([100, 2], [101, 2]).within
    assert _measure(["a", "b"], ["a", "b"]).within
    assert not _measure(["a", "b"], ["a", "c"]).within

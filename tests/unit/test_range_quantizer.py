"""Quantizers over ranges against their definitions, in float64 and by the paper's laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxbf.errors import NameUnknown, SpecError, UnsupportedError
from onnxbf.philox import random_words
from onnxbf.range_cast import RANGE_CASTS, Grouping, parse_range_cast
from onnxbf.range_quantizer import make_groups, quantize_range, widths

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 9)).astype(np.float32)


@pytest.mark.parametrize("name", RANGE_CASTS)
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_results_lie_on_a_grid_of_that_many_bits(name: str, bits: int) -> None:
    cast = parse_range_cast(f"{name}{{bits={bits}}}")
    y = quantize_range(X, cast, random_words(X.size, seed=1, node=0, step=0, offset=0))
    rows = y.reshape(1, -1) if cast.grouping is Grouping.TENSOR else y
    if cast.grouping is not Grouping.HOUSEHOLDER:
        assert all(len(np.unique(row)) <= 2**bits for row in rows)
    assert np.abs(y - X).max() <= 4 * widths(X.reshape(1, -1))[0] / (2**bits - 1)


def test_to_nearest_by_definition() -> None:
    wide = X.astype(np.float64)
    step = (wide.max() - wide.min() + 1e-8) / 15
    expected = np.rint((wide - wide.min()) / step) * step + wide.min()
    assert quantize_range(X, parse_range_cast("affine{bits=4}")) == pytest.approx(
        expected, abs=1e-6
    )


@pytest.mark.parametrize("x", [X, np.abs(X) + 1, -np.abs(X) - 1], ids=["both", "above", "below"])
def test_zero_stays_zero_where_it_must(x: np.ndarray) -> None:
    cast = parse_range_cast("weight{bits=3}")
    with_zero = np.concatenate([x.ravel(), [0, -0.0]]).astype(np.float32)
    assert (quantize_range(with_zero, cast)[-2:] == 0).all()
    assert np.isfinite(quantize_range(x, cast)).all()


@pytest.mark.parametrize("name", RANGE_CASTS)
def test_equal_numbers_stay_what_they_are(name: str) -> None:
    x = np.full((4, 5), 0.3, np.float32)
    words = random_words(x.size, seed=1, node=0, step=0, offset=0)
    assert quantize_range(x, parse_range_cast(name), words) == pytest.approx(x, rel=1e-5)


@pytest.mark.parametrize("name", RANGE_CASTS)
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_spoils_its_range_alone(name: str, special: float) -> None:
    x = X.copy()
    x[3, 2] = special
    cast = parse_range_cast(name)
    y = quantize_range(x, cast, random_words(x.size, seed=1, node=0, step=0, offset=0))
    assert np.isnan(y[3]).all()
    others = np.isnan(np.delete(y, 3, 0))
    assert not others.any() if cast.grouping is Grouping.SAMPLE else others.all()


@given(st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=40))
def test_every_sample_is_in_one_group(ranges: list[float]) -> None:
    values = np.array(ranges, np.float32)
    groups = make_groups(values)
    rows = [row for group in groups for row in group.rows]
    assert sorted(rows) == list(range(len(ranges)))
    leaders = [values[group.rows[0]] for group in groups]
    others = [values[row] for group in groups for row in group.rows[1:]]
    assert min(leaders) >= max(others, default=0)
    for group in groups:
        length = float(np.sum(group.unit.astype(np.float64) ** 2))
        assert length == pytest.approx(float(len(group.rows) > 1), abs=1e-6)


def test_a_wide_sample_takes_all_others_into_its_group() -> None:
    ranges = np.array([1, 1000, 1, 2, 1], np.float32)
    (group,) = make_groups(ranges)
    assert group.rows == (1, 3, 0, 2, 4)
    reflection = np.eye(5) - 2 * np.outer(group.unit, group.unit)
    assert reflection[0] == pytest.approx(np.full(5, 5**-0.5), abs=1e-6)  # spread over all rows


def test_texts() -> None:
    for name in RANGE_CASTS:
        cast = parse_range_cast(f"{name}{{bits=3}}")
        assert parse_range_cast(str(cast)) == cast and cast.bins == 7
    for text, error, message in (
        ("psq{bits=1}", SpecError, "psq has 1 bits, but must have from 2 to 8"),
        ("psq{bits=9}", SpecError, "from 2 to 8"),
        ("psq{bits=x}", SpecError, "from 2 to 8"),
        ("psq{bit=4}", NameUnknown, "did you mean 'bits'"),
        ("psg", NameUnknown, "did you mean 'psq'"),
    ):
        with pytest.raises(error, match=message):
            parse_range_cast(text)
    with pytest.raises(UnsupportedError, match="needs 2 samples"):
        quantize_range(X[:1], parse_range_cast("bhq"), np.zeros(9, np.uint32))

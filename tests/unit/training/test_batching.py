"""Batches: the order that is promised, the number of steps, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from onnxbf.errors import DataError, SpecError
from onnxbf.training.batching import Batches
from onnxbf.training.examples import Arrays, Stream


def _rows(count: int) -> Arrays:
    return Arrays({"x": np.arange(count), "y": np.arange(count) * 2.0})


def _stream(count: int) -> Stream:
    return Stream(lambda: ({"x": number} for number in range(count)), "numbers")


def test_the_order_is_that_of_pcg64() -> None:
    """Set down, so that a release of NumPy that draws otherwise is noticed."""
    (batch,) = Batches(_rows(8), 8, seed=7).epoch(3)
    assert batch["x"].tolist() == [3, 5, 0, 4, 2, 7, 1, 6]


@pytest.mark.parametrize(
    ("count", "drop", "steps", "short"),
    [(8, False, 2, False), (8, True, 2, False), (9, False, 3, True), (9, True, 2, False)],
)
def test_the_last_batch(count: int, drop: bool, steps: int, short: bool) -> None:
    batches = Batches(_rows(count), 4, seed=0, drop_last=drop)
    assert batches.steps(0) == len(list(batches.epoch(0))) == steps
    assert batches.last_is_short == short


@pytest.mark.parametrize("drop", [False, True])
def test_streams_end_when_they_end(drop: bool) -> None:
    batches = Batches(_stream(9), 4, seed=0, drop_last=drop)
    assert batches.steps(0) is None
    assert len(list(batches.epoch(0))) == (2 if drop else 3)
    assert batches.last_is_short != drop


def test_without_shuffling_the_order_is_that_of_the_data() -> None:
    for data in (_rows(5), _stream(5)):
        batches = Batches(data, 2, seed=0, shuffle=False)
        assert [batch["x"].tolist() for batch in batches.epoch(1)] == [[0, 1], [2, 3], [4]]


def test_what_cannot_be_had() -> None:
    with pytest.raises(SpecError, match="batch size of 0"):
        Batches(_rows(3), 0, seed=0)
    with pytest.raises(SpecError, match="seed -1"):
        Batches(_rows(3), 1, seed=-1)
    with pytest.raises(DataError, match="3 examples, fewer than a batch of 4"):
        Batches(_rows(3), 4, seed=0, drop_last=True)

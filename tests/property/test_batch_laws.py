"""Laws of batches: every epoch is a permutation, and skipping changes nothing of what follows."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxbf.training.batching import Batches
from onnxbf.training.examples import Arrays, Data, Stream


@st.composite
def _data(draw: st.DrawFn) -> tuple[int, Data]:
    count = draw(st.integers(1, 60))
    if draw(st.booleans()):
        return count, Arrays({"x": np.arange(count), "y": np.arange(count) * 2.0})
    return count, Stream(lambda: ({"x": i, "y": i * 2.0} for i in range(count)), "numbers")


_SEED, _EPOCH, _SIZE = st.integers(0, 2**64), st.integers(0, 1000), st.integers(1, 17)


@settings(max_examples=60, deadline=None)
@given(data=_data(), size=_SIZE, seed=_SEED, epoch=_EPOCH, shuffle=st.booleans())
def test_every_epoch_is_a_permutation(
    data: tuple[int, Data], size: int, seed: int, epoch: int, shuffle: bool
) -> None:
    count, source = data
    found = list(Batches(source, size, seed=seed, shuffle=shuffle).epoch(epoch))
    order = np.concatenate([batch["x"] for batch in found])
    assert sorted(order.tolist()) == list(range(count))
    np.testing.assert_array_equal(np.concatenate([batch["y"] for batch in found]), order * 2.0)
    assert [len(batch["x"]) for batch in found[:-1]] == [size] * (len(found) - 1)


@settings(max_examples=60, deadline=None)
@given(data=_data(), size=_SIZE, seed=_SEED, epoch=_EPOCH, skip=st.integers(0, 70))
def test_skipping_gives_what_would_have_come(
    data: tuple[int, Data], size: int, seed: int, epoch: int, skip: int
) -> None:
    count, source = data
    for drop in (False, count >= size):
        batches = Batches(source, size, seed=seed, drop_last=drop)
        expected = [batch["x"].tolist() for batch in batches.epoch(epoch)][skip:]
        assert [batch["x"].tolist() for batch in batches.epoch(epoch, skip)] == expected


def test_epochs_and_seeds_differ() -> None:
    source = Arrays({"x": np.arange(100)})
    orders = {
        tuple(next(Batches(source, 100, seed=seed).epoch(epoch))["x"].tolist())
        for seed in range(10)
        for epoch in range(10)
    }
    assert len(orders) == 100

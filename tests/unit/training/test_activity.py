"""Activity on parameters whose changes are known."""

from __future__ import annotations

import numpy as np
import pytest

from onnxbf.errors import SpecError
from onnxbf.training.activity import activity, most_changed, reset_active
from onnxbf.training.layers import Layer

LAYERS = (Layer("low", ("w", "b")), Layer("high", ("v",)))
INITIAL = {
    "w": np.ones((2, 3), np.float32),
    "b": np.zeros(2, np.float32),
    "v": np.ones(2, np.float32),
}
MOVED = {"w": np.array([[5, 1, 1], [1, -4, 1]]), "b": np.array([0, 0.5]), "v": np.array([1, 3.0])}
FINAL = {name: array.astype(np.float32) for name, array in MOVED.items()} | {"slot": np.ones(1)}


def test_activity() -> None:
    low, high = activity(INITIAL, FINAL, LAYERS, 0.3)  # three of ten: 5, -4 and 3
    assert (low.layer, low.share, low.density) == ("low", pytest.approx(2 / 3), 2 / 8)
    assert (high.layer, high.share, high.density) == ("high", pytest.approx(1 / 3), 1 / 2)
    assert low.change == pytest.approx((4 + 5 + 0.5) / 6) and high.change == 1


def test_a_layer_that_was_zero_changed_without_bound() -> None:
    (only,) = activity({"b": np.zeros(2)}, {"b": np.ones(2)}, [Layer("b", ("b",))], 0.5)
    assert only.change == np.inf


def test_reset() -> None:
    names = ("w", "b", "v")
    active = reset_active(INITIAL, FINAL, names, 0.2)
    assert active["w"].tolist() == [[1, 1, 1], [1, 1, 1]]
    assert active["v"].tolist() == [1, 3] and active["slot"] is FINAL["slot"]
    lazy = reset_active(INITIAL, FINAL, names, 0.8, lazy=True)  # all but 5 and -4
    assert lazy["w"].tolist() == FINAL["w"].tolist()
    assert lazy["b"].tolist() == [0, 0] and lazy["v"].tolist() == [1, 1]


def test_of_equal_changes_the_first_count() -> None:
    masks = most_changed({"a": np.zeros(4)}, {"a": np.ones(4)}, ["a"], 0.5)
    assert masks["a"].tolist() == [True, True, False, False]


@pytest.mark.parametrize("fraction", [0.0, 1.0, float("nan")])
def test_fractions(fraction: float) -> None:
    with pytest.raises(SpecError, match="between 0 and 1"):
        most_changed(INITIAL, FINAL, ["w"], fraction)

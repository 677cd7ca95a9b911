"""Clipping and decay, which all optimizers share."""

from __future__ import annotations

import numpy as np
import pytest

from onnxbf.errors import ModelError
from onnxbf.training.optimizers import OPTIMIZERS
from onnxbf.training.transforms import Selection
from tests.updates import Run, distance, draw, parameters_of, trained

WEIGHTS, GRADIENTS = draw(), draw(1)
NORM = np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in GRADIENTS.values()))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_clipping_leaves_small_gradients_as_they_are(name: str) -> None:
    gradients = [draw(seed) for seed in range(1, 4)]
    wanted = trained(OPTIMIZERS[name](), WEIGHTS, gradients)
    for options in ({"clip_norm": 100.0}, {"clip_value": 50.0}):
        got = trained(OPTIMIZERS[name](**options), WEIGHTS, gradients)
        assert all(got[key].tobytes() == array.tobytes() for key, array in wanted.items())


def test_a_norm_that_equals_the_limit_is_not_clipped() -> None:
    update = Run(OPTIMIZERS["sgd"](clip_norm=5.0), {"w": np.zeros(2, np.float32)})
    got = update.step({"w": np.float32([3, 4])}, rate=1.0)
    assert (update.norm, got["w"].tolist()) == (5.0, [-3.0, -4.0])


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("limit", [0.01, 1.0])
def test_clipping_by_norm_scales_all_by_one_factor(limit: float, momentum: float) -> None:
    zeros = {name: np.zeros_like(array) for name, array in WEIGHTS.items()}
    update = Run(OPTIMIZERS["sgd"](clip_norm=limit, momentum=momentum), zeros)
    got = update.step(GRADIENTS, rate=1.0)
    assert update.norm == pytest.approx(NORM, rel=1e-6)  # the norm before it is clipped
    for name, gradient in GRADIENTS.items():
        assert distance(-got[name], gradient.astype(np.float64) * limit / NORM) < 1e-6


def test_no_gradient_at_all_is_clipped_to_none() -> None:
    zeros = {name: np.zeros_like(array) for name, array in WEIGHTS.items()}
    update = Run(OPTIMIZERS["sgd"](clip_norm=1.0), WEIGHTS)
    got = update.step(zeros)
    assert update.norm == 0
    assert all(got[name].tobytes() == array.tobytes() for name, array in WEIGHTS.items())


def test_clipping_by_value_brings_every_element_into_range() -> None:
    zeros = {name: np.zeros_like(array) for name, array in WEIGHTS.items()}
    got = trained(OPTIMIZERS["sgd"](clip_value=0.25), zeros, [GRADIENTS], rate=1.0)
    for name, gradient in GRADIENTS.items():
        assert np.array_equal(-got[name], np.clip(gradient, -0.25, 0.25))


def test_the_norm_is_clipped_before_the_values() -> None:
    update = Run(OPTIMIZERS["sgd"](clip_norm=1.0, clip_value=0.7), {"w": np.zeros(2, np.float32)})
    assert update.step({"w": np.float32([3, 4])}, rate=1.0)["w"] == pytest.approx([-0.6, -0.7])


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize(
    ("options", "decaying"),
    [
        ({}, ["matrix", "vector", "scalar", "empty", "kernel"]),
        ({"decay_exclude": "or|ar$"}, ["matrix", "empty", "kernel"]),
        ({"decay_min_rank": 2}, ["matrix", "empty", "kernel"]),
        ({"decay_min_rank": 2, "decay_exclude": "^k"}, ["matrix", "empty"]),
    ],
)
def test_decay_leaves_out_what_is_excluded(
    options: dict[str, object], decaying: list[str], decoupled: bool
) -> None:
    zeros = {name: np.zeros_like(array) for name, array in GRADIENTS.items()}
    optimizer = OPTIMIZERS["sgd"](weight_decay=0.5, decoupled=decoupled, **options)
    got = trained(optimizer, WEIGHTS, [zeros], rate=1.0)
    for name, array in WEIGHTS.items():
        factor = np.float32(0.5 if name in decaying else 1.0)
        assert np.array_equal(got[name], array * factor), name


def test_an_exclusion_that_excludes_nothing_is_an_error() -> None:
    with pytest.raises(ModelError, match=r"decay_exclude='bais' .* There are: matrix, vector"):
        Selection("bais")(parameters_of(WEIGHTS))

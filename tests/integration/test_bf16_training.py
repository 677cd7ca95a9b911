"""The BF16 study on digits: what trains in float32 trains under BF16; where FP16 ends.

The experiments and their limits are those that docs/training_numerics.md names.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest

pytest.importorskip("sklearn")
from tests.runtime import needs_training

pytestmark = needs_training

from onnxbf.training.graphs import TrainingGraphs  # noqa: E402
from tests.digits import Outcome, cnn, graphs_of, learn, mlp  # noqa: E402
from tests.implementations import same_bits  # noqa: E402

SEEDS = (0, 1, 2)
POINT = 0.01
FAR = 2.0**-20  # what brings FP16's gradients below its range

NETWORKS = {
    "cnn": (cnn, "adam", 2e-3, 12),
    "mlp": (mlp, "momentum{momentum=0.9}", 0.05, 40),
}


@functools.cache
def _graphs(network: str, seed: int) -> TrainingGraphs:
    make, optimizer, _, _ = NETWORKS[network]
    return graphs_of(make(seed), optimizer)


@functools.cache
def _outcome(network: str, recipe: str, seed: int = 0) -> Outcome:
    _, _, rate, epochs = NETWORKS[network]
    return learn(_graphs(network, seed), recipe, rate, epochs, seed=seed)


def _accuracy(network: str, recipe: str) -> float:
    return float(np.mean([_outcome(network, recipe, seed).accuracy for seed in SEEDS]))


@pytest.mark.parametrize("network", NETWORKS)
def test_bf16_reaches_the_accuracy_of_float32_in_as_many_steps(network: str) -> None:
    assert _accuracy(network, "none") > 0.96
    assert abs(_accuracy(network, "bf16") - _accuracy(network, "none")) <= POINT
    for seed in SEEDS:
        rounded, plain = (_outcome(network, recipe, seed) for recipe in ("bf16", "none"))
        assert rounded.trainer.index == plain.trainer.index
        assert not any(same_bits(plain.state[n], a) for n, a in rounded.state.items())


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("recipe", ["bf16{weight_gradients=fp32}", "fp8"])
def test_other_recipes_reach_it_too(network: str, recipe: str) -> None:
    assert abs(_outcome(network, recipe).accuracy - _outcome(network, "none").accuracy) <= POINT


# Momentum alone: Adam's epsilon does not scale, but every other number in a step does.
def _scaled(recipe: str, scale: float) -> Outcome:
    return learn(_graphs("mlp", 0), recipe, 0.05, 20, scale=scale)


def test_under_power_of_two_scaling_the_final_weights_are_the_same_bits() -> None:
    plain = _scaled("bf16", 1.0)
    for power in (8, 24, 60):
        scaled = _scaled("bf16", 2.0**-power)
        assert scaled.loss == plain.loss
        for name, array in plain.state.items():
            assert same_bits(scaled.state[name], array), f"{name} at 2^-{power}"
    narrow, scaled = _scaled("fp16", 1.0), _scaled("fp16", 2.0**-8)
    assert not same_bits(narrow.state["p0"], scaled.state["p0"])  # FP16's range ends before


def test_fp16_fails_without_loss_scaling_and_succeeds_with_it() -> None:
    wanted = _scaled("none", FAR).accuracy
    assert wanted > 0.96
    assert abs(_scaled("bf16", FAR).accuracy - wanted) <= POINT
    assert _scaled("fp16", FAR * 2.0**12).accuracy >= wanted - POINT
    failed = _scaled("fp16", FAR)
    assert failed.accuracy < 0.2
    begun = _graphs("mlp", 0).state
    for weights in ("p0", "p2", "p4"):  # every gradient of a weight was rounded to zero
        assert same_bits(failed.state[weights], begun[weights]), weights

"""Training under FP8 with one factor per tensor: accuracy, tiny gradients, and its state."""

from __future__ import annotations

import functools

import numpy as np
import pytest

pytest.importorskip("sklearn")
from tests.runtime import needs_training

pytestmark = needs_training

from onnxbf.recipe import load_recipe  # noqa: E402
from onnxbf.training.evaluation import all_values  # noqa: E402
from onnxbf.training.graphs import TrainingGraphs  # noqa: E402
from onnxbf.training.trainer import Trainer  # noqa: E402
from tests.digits import Outcome, cnn, graphs_of, learn, mlp  # noqa: E402
from tests.implementations import same_bits  # noqa: E402

POINT = 0.01
FAR = 2.0**-20  # what brings gradients below the range of e5m2
SHORT = "fp8-delayed{gradients=e5m2:sr{scaling=delayed,history=3}}"
NETWORKS = {
    "cnn": (cnn, "adam", 2e-3, 12),
    "mlp": (mlp, "momentum{momentum=0.9}", 0.05, 30),
}


@functools.cache
def _graphs(network: str) -> TrainingGraphs:
    make, optimizer, _, _ = NETWORKS[network]
    return graphs_of(make(0), optimizer)


@functools.cache
def _outcome(network: str, recipe: str, scale: float = 1.0) -> Outcome:
    _, _, rate, epochs = NETWORKS[network]
    return learn(_graphs(network), recipe, rate, epochs, scale=scale)


def _batches(count: int) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    (labels,) = _graphs("mlp").attached.labels
    return [
        {"x": rng.normal(size=(8, 1, 8, 8)).astype(np.float32), labels: rng.integers(0, 10, 8)}
        for _ in range(count)
    ]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("recipe", ["fp8-current", "fp8-delayed"])
def test_it_reaches_the_accuracy_of_float32(network: str, recipe: str) -> None:
    assert _outcome(network, "none").accuracy > 0.96
    assert abs(_outcome(network, recipe).accuracy - _outcome(network, "none").accuracy) <= POINT


def test_gradients_that_vanish_unscaled_do_not() -> None:
    assert _outcome("mlp", "fp8", FAR).accuracy < 0.3
    for recipe in ("fp8-current", "fp8-delayed"):
        plain = _outcome("mlp", "none", FAR).accuracy
        assert abs(_outcome("mlp", recipe, FAR).accuracy - plain) <= POINT, recipe


def test_under_current_scaling_the_loss_scale_changes_no_bit() -> None:
    plain, scaled = (_outcome("mlp", "fp8-current", scale) for scale in (1.0, FAR))
    assert scaled.loss == plain.loss
    for name, array in plain.state.items():
        assert same_bits(scaled.state[name], array), name


def test_the_history_holds_the_largest_magnitudes_of_the_last_steps() -> None:
    graphs = _graphs("mlp").under(load_recipe(SHORT), seed=1)
    trainer, seen = Trainer(graphs, threads=1), []
    for batch in _batches(5):
        values = all_values(graphs, batch, trainer.state())
        seen.append(np.abs(values["logits_grad"]).max())
        trainer.step([batch], 0.05)
    state = trainer.state()["logits_grad_scaled_e5m2.scaling"]
    assert state[1:].tolist() == seen[:1:-1]
    assert state[0] == np.float32(57344) / max(seen[2:])


def test_resumed_it_goes_on_with_the_same_bits() -> None:
    graphs, batches = _graphs("mlp").under(load_recipe(SHORT), seed=1), _batches(8)
    whole = Trainer(graphs, threads=1)
    for batch in batches[:4]:
        whole.step([batch], 0.05)
    state = {name: array.copy() for name, array in whole.state().items()}
    resumed = Trainer(graphs, threads=2)
    resumed.resume(state, whole.counters())
    forgetful = Trainer(graphs, threads=1)
    fresh = {name: array for name, array in graphs.state.items() if name.endswith(".scaling")}
    forgetful.resume({**state, **fresh}, whole.counters())
    for batch in batches[4:]:
        losses = [each.step([batch], 0.05).loss for each in (whole, resumed, forgetful)]
        assert losses[0] == losses[1]
    assert losses[0] != losses[2]  # the history is a part of the state
    for name, array in whole.state().items():
        assert same_bits(resumed.state()[name], array), name


def test_evaluation_scales_as_training_left_it() -> None:
    graphs, batches = _graphs("mlp").under(load_recipe(SHORT), seed=1), _batches(4)
    trainer = Trainer(graphs, threads=1)
    for batch in batches:
        trainer.step([batch], 0.05)
    state = {name: array.copy() for name, array in trainer.state().items()}
    loss, _ = trainer.evaluate(batches[0])
    assert all(same_bits(trainer.state()[name], array) for name, array in state.items())
    trainer.state()["x_scaled_e4m3fn.scaling"][0] *= 64  # now most pixels saturate
    assert trainer.evaluate(batches[0])[0] != loss


def test_layers_that_a_step_leaves_out_keep_their_history() -> None:
    graphs = _graphs("mlp").layerwise("probabilistic{p=0.4,top=1}")
    trainer = Trainer(graphs.under(load_recipe(SHORT), seed=1), threads=1)
    inner = "net/Gemm:0_grad_scaled_e5m2.scaling"
    for index, batch in enumerate(_batches(12)):
        partial = trainer.graphs.partial
        assert partial is not None
        before = trainer.state()[inner].copy()
        trainer.step([batch], 0.01)
        assert same_bits(trainer.state()[inner], before) == partial.covers(index), index

"""Training some layers only: the backward graph is cut, and nothing else changes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tests.runtime import needs_training

pytestmark = needs_training

from onnxbf.cli.main import group  # noqa: E402
from onnxbf.files import save_model  # noqa: E402
from onnxbf.graph import Phase  # noqa: E402
from onnxbf.recipe import load_recipe  # noqa: E402
from onnxbf.studies.networks import digits_cnn, digits_mlp  # noqa: E402
from onnxbf.training.evaluation import all_values  # noqa: E402
from onnxbf.training.flops import product_flops  # noqa: E402
from onnxbf.training.graphs import TrainingGraphs, build_graphs  # noqa: E402
from onnxbf.training.trainer import Trainer  # noqa: E402
from tests.implementations import same_bits  # noqa: E402

RNG = np.random.default_rng(0)
BATCHES = [
    (RNG.normal(size=(8, 1, 8, 8)).astype(np.float32), RNG.integers(0, 10, 8)) for _ in range(6)
]


def _graphs(optimizer: str = "adam") -> TrainingGraphs:
    return build_graphs(digits_mlp(0), "cross-entropy", optimizer)


def _batch(graphs: TrainingGraphs, index: int) -> dict[str, np.ndarray]:
    images, labels = BATCHES[index % len(BATCHES)]
    return {"x": images, graphs.attached.labels[0]: labels}


def _train(graphs: TrainingGraphs, steps: int, recipe: str = "bf16", seed: int = 1) -> Trainer:
    trainer = Trainer(graphs.under(load_recipe(recipe), seed=seed), threads=1, health_every=2)
    for index in range(steps):
        trainer.step([_batch(graphs, index)], 0.01)
        trainer.health()
    return trainer


def test_what_is_not_trained_is_not_computed() -> None:
    graphs = _graphs()
    cut = graphs.truncated(["p4", "p5"])
    names = [value.name for value in cut.gradient.graph.outputs]
    assert {n for n in names if n.endswith(".gradient")} == {"p4.gradient", "p5.gradient"}
    values = all_values(graphs, _batch(graphs, 0), graphs.state)
    shapes = {name: array.shape for name, array in values.items()}
    whole, part = (product_flops(each.gradient, shapes) for each in (graphs, cut))
    sizes = [(64, 128), (128, 64), (64, 10)]
    costs = [2 * 8 * before * after for before, after in sizes]
    assert whole[Phase.FORWARD] == part[Phase.FORWARD] == sum(costs)
    assert whole[Phase.WEIGHT_GRADIENT] == sum(costs)
    assert whole[Phase.INPUT_GRADIENT] == sum(costs[1:])
    assert part[Phase.WEIGHT_GRADIENT] == costs[2] and part[Phase.INPUT_GRADIENT] == 0


def test_operations_of_convolutions() -> None:
    graphs = build_graphs(digits_cnn(0), "cross-entropy", "sgd")
    values = all_values(graphs, _batch(graphs, 0), graphs.state)
    counts = product_flops(graphs.gradient, {name: array.shape for name, array in values.items()})
    first, second, dense = 8 * 64 * 8 * 9, 8 * 64 * 16 * 8 * 9, 8 * 256 * 10
    assert counts[Phase.FORWARD] == 2 * (first + second + dense)
    assert counts[Phase.WEIGHT_GRADIENT] == 2 * (first + second + dense)
    assert counts[Phase.INPUT_GRADIENT] == 2 * (second + dense)


@pytest.mark.parametrize("recipe", ["none", "bf16"])
def test_gradients_that_are_left_are_the_same_bits(recipe: str) -> None:
    graphs = _graphs()
    cut = graphs.truncated(["p2", "p3"])
    found = [
        all_values(each.under(load_recipe(recipe)), _batch(graphs, 0), graphs.state)
        for each in (graphs, cut)
    ]
    for name in ("p2.gradient", "p3.gradient"):
        assert same_bits(found[0][name], found[1][name])


def test_layers_that_are_not_trained_keep_their_weights_and_slots() -> None:
    graphs = _graphs().layerwise("static{bottom=1,top=1}")
    initial = {name: array.copy() for name, array in graphs.state.items()}
    final = _train(graphs, 5).state()
    assert final.keys() == initial.keys()
    for name, array in initial.items():
        assert same_bits(final[name], array) == name.startswith(("p2", "p3")), name


def test_steps_of_both_kinds_share_one_store() -> None:
    """Every step is what a trainer of its own, begun at the state so far, would make of it."""
    plain = _graphs()
    graphs = plain.layerwise("probabilistic{p=0.5,top=1}")
    assert graphs.partial is not None
    trainer = _train(graphs, 0)
    policy, kinds = graphs.partial.policy, set()
    for index in range(8):
        full = policy.is_full(1, index)
        kinds.add(full)
        alone = _train(plain if full else plain.truncated(["p4", "p5"]), 0)
        state = {name: array.copy() for name, array in trainer.state().items()}
        alone.resume(state, trainer.counters())
        for each in (trainer, alone):
            each.step([_batch(graphs, index), _batch(graphs, index + 1)], 0.01)
        for name, array in alone.state().items():
            assert same_bits(trainer.state()[name], array), name
    assert kinds == {True, False}


def test_resuming_gives_the_same_bits() -> None:
    graphs = _graphs().layerwise("probabilistic{p=0.3,top=2}")
    whole, first, second = _train(graphs, 7), _train(graphs, 3), _train(graphs, 0)
    second.resume({k: v.copy() for k, v in first.state().items()}, first.counters())
    for index in range(3, 7):
        second.step([_batch(graphs, index)], 0.01)
    for name, array in whole.state().items():
        assert same_bits(second.state()[name], array), name


def test_the_command(tmp_path: Path) -> None:
    save_model(digits_mlp(0), tmp_path / "mlp.onnx")
    images = np.concatenate([images for images, _ in BATCHES])
    labels = np.concatenate([labels for _, labels in BATCHES])
    np.savez(tmp_path / "data.npz", x=images, labels=labels)
    common = ["train", str(tmp_path / "mlp.onnx"), "--data", str(tmp_path / "data.npz")]
    done, refused = (
        CliRunner().invoke(group, [*common, "--layers", policy, "-o", str(tmp_path / str(index))])
        for index, policy in enumerate(("static{top=1}", "static{top=9}"))
    )
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "0" / "run.json").read_text())["layers"] == "static{top=1}"
    assert refused.exit_code == 2 and "the network has 3 layers" in refused.output
    assert not (tmp_path / "1").exists()

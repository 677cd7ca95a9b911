"""ONNX Runtime's own Module and Optimizer on our artifacts, beside our trainer on the same graphs.

Under SGD both do the same float32 operations, so losses, weights and statistics are equal bit for
bit. ONNX Runtime's AdamW corrects its moments one by one in float32, ours together in float64:
losses then agree to 1e-6 in float32. Under bf16, such a difference can carry a weight over a
rounding boundary, so AdamW is not compared there.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnxbf.files import load_model
from onnxbf.formats import parse_cast
from onnxbf.passes.replace_gradients import restore_gradients
from onnxbf.recipe import Recipe, Rule, load_recipe
from onnxbf.training.artifacts import make_artifacts, save_artifacts
from onnxbf.training.graphs import TrainingGraphs, build_graphs
from onnxbf.training.ort_optimizer import make_ort_optimizer
from onnxbf.training.trainer import Trainer
from tests.implementations import same_bits
from tests.ort_training_api import Array, Run
from tests.runtime import needs_training

pytestmark = needs_training

MODELS = Path(__file__).parents[1] / "models"
NETWORKS = ["jax_mlp", "torchscript_resnet", "torch_vit"]  # the second with batch normalization
STEPS = 6
RATE = 0.05


def graphs_of(
    name: str, optimizer: str, recipe: Recipe, *, portable: bool = False
) -> TrainingGraphs:
    graphs = build_graphs(load_model(MODELS / f"{name}.onnx"), "cross-entropy", optimizer)
    return graphs.under(recipe, portable=portable)


def batches_of(name: str, graphs: TrainingGraphs) -> list[dict[str, Array]]:
    """The saved inputs, with labels that differ from step to step."""
    saved = np.load(MODELS / f"{name}.npz")
    inputs = {key.split("/", 1)[1]: saved[key] for key in saved if key.startswith("input/")}
    (labels,) = graphs.attached.labels
    size = len(next(iter(inputs.values())))
    generator = np.random.default_rng(0)
    return [{**inputs, labels: generator.integers(0, 4, size)} for _ in range(STEPS)]


def written(graphs: TrainingGraphs, optimizer: str, folder: Path) -> Path:
    save_artifacts(make_artifacts(graphs, make_ort_optimizer(optimizer)), folder / "made")
    return folder / "made"


def check_state(run: Run, trainer: Trainer) -> None:
    found = run.arrays()
    assert found
    for name, array in found.items():
        assert same_bits(array, trainer.state()[name]), name


@pytest.mark.parametrize("recipe", ["none", "bf16", "fp8-delayed"])
@pytest.mark.parametrize("name", NETWORKS)
def test_sgd_is_the_trainers_bit_for_bit(name: str, recipe: str, tmp_path: Path) -> None:
    graphs = graphs_of(name, "sgd", load_recipe(recipe))
    run, trainer = Run(written(graphs, "sgd", tmp_path)), Trainer(graphs, threads=1)
    for batch in batches_of(name, graphs):
        assert run.step(batch, RATE) == trainer.step([batch], RATE).loss
    check_state(run, trainer)
    loss, (predictions,) = trainer.evaluate(batch)
    evaluated, predicted = run.evaluate(batch)
    assert evaluated == loss
    assert same_bits(predicted, predictions)


def test_running_statistics_are_changed_in_place(tmp_path: Path) -> None:
    graphs = graphs_of("torchscript_resnet", "sgd", load_recipe("bf16"))
    run = Run(written(graphs, "sgd", tmp_path))
    before = run.arrays()
    statistics = [name for name, value in run.state.parameters if not value.requires_grad]
    assert len(statistics) == 8
    run.step(batches_of("torchscript_resnet", graphs)[0], RATE)
    assert all(not same_bits(run.arrays()[name], before[name]) for name in statistics)


@pytest.mark.parametrize(
    "optimizer", ["adamw", "adamw{weight_decay=0.3,beta1=0.8,beta2=0.99,eps=1e-6}", "adam"]
)
@pytest.mark.parametrize("name", NETWORKS)
def test_adamw_agrees_to_rounding(name: str, optimizer: str, tmp_path: Path) -> None:
    graphs = graphs_of(name, optimizer, load_recipe("none"))
    run, trainer = Run(written(graphs, optimizer, tmp_path)), Trainer(graphs, threads=1)
    for batch in batches_of(name, graphs):
        expected = trainer.step([batch], 1e-3).loss
        assert run.step(batch, 1e-3) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("clip", [0.01, 100.0])  # below and above the gradients' norm
def test_clipping_agrees_to_rounding(clip: float, tmp_path: Path) -> None:
    optimizer = f"sgd{{clip_norm={clip}}}"
    graphs = graphs_of("jax_mlp", optimizer, load_recipe("none"))
    run, trainer = Run(written(graphs, optimizer, tmp_path)), Trainer(graphs, threads=1)
    for batch in batches_of("jax_mlp", graphs):
        done = trainer.step([batch], 1.0)
        assert 0.01 < done.norm < 100
        assert run.step(batch, 1.0) == pytest.approx(done.loss, rel=1e-6)
    trained = trainer.state()
    for name, array in run.arrays().items():
        moved = np.linalg.norm(trained[name] - graphs.state[name])
        tolerance = 1e-4 * moved + 1e-6  # its factor is clip / (norm + 1e-6)
        assert np.linalg.norm(array - trained[name]) <= tolerance, name


def test_gradients_of_two_batches_add_up(tmp_path: Path) -> None:
    """Their sum at half the rate is what their mean is at the whole."""
    graphs = graphs_of("jax_mlp", "sgd", load_recipe("bf16"))
    run, trainer = Run(written(graphs, "sgd", tmp_path)), Trainer(graphs, threads=1)
    batches = batches_of("jax_mlp", graphs)
    for pair in zip(batches[::2], batches[1::2], strict=True):
        for batch in pair:
            run.backward(batch)
        run.update(RATE / 2)
        trainer.step(pair, RATE)
    check_state(run, trainer)


def test_stochastic_rounding_takes_the_step_as_its_last_input(tmp_path: Path) -> None:
    cast = parse_cast("bf16:sr")
    recipe = Recipe("stochastic", "", (Rule(ops=("gemm",), inputs=cast, weights=cast),))
    graphs = graphs_of("jax_mlp", "sgd", recipe)
    run, trainer = Run(written(graphs, "sgd", tmp_path)), Trainer(graphs, threads=1)
    assert run.module.input_names() == ["input", "labels", "step"]
    losses = []
    for index, batch in enumerate(batches_of("jax_mlp", graphs)):
        losses.append(run.step({**batch, "step": np.array(index)}, RATE))
        assert losses[-1] == trainer.step([batch], RATE).loss
    check_state(run, trainer)


def test_statistics_that_a_recipe_rounds_are_changed_as_well(tmp_path: Path) -> None:
    cast = parse_cast("bf16")
    recipe = Recipe("all", "", (Rule(inputs=cast, weights=cast, bias=cast, outputs=cast),))
    graphs = graphs_of("torchscript_resnet", "sgd", recipe)
    run, trainer = Run(written(graphs, "sgd", tmp_path)), Trainer(graphs, threads=1)
    for batch in batches_of("torchscript_resnet", graphs)[:3]:
        assert run.step(batch, RATE) == trainer.step([batch], RATE).loss
    check_state(run, trainer)


def test_portable_artifacts_need_no_custom_operators(tmp_path: Path) -> None:
    graphs = graphs_of("torchscript_resnet", "sgd", load_recipe("bf16"), portable=True)
    run = Run(written(graphs, "sgd", tmp_path), custom_ops=False)
    rounding = graphs_of("torchscript_resnet", "sgd", load_recipe("bf16"))
    restore_gradients(rounding.gradient)  # our kernels sum them in another order
    trainer = Trainer(rounding, threads=1)
    for batch in batches_of("torchscript_resnet", graphs):
        assert run.step(batch, RATE) == trainer.step([batch], RATE).loss
    check_state(run, trainer)


def test_a_checkpoint_is_taken_up_where_it_was_left(tmp_path: Path) -> None:
    graphs = graphs_of("jax_mlp", "adamw", load_recipe("bf16"))
    folder = written(graphs, "adamw", tmp_path)
    whole, first = Run(folder), Run(folder)
    batches = batches_of("jax_mlp", graphs)
    expected = [whole.step(batch, RATE) for batch in batches]
    assert [first.step(batch, RATE) for batch in batches[:3]] == expected[:3]
    type(first.state).save_checkpoint(first.state, folder / "checkpoint", True)
    second = Run(folder)
    assert [second.step(batch, RATE) for batch in batches[3:]] == expected[3:]

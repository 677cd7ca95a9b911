"""Training under a recipe gives the same bits in either form, on any threads, and in every run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnxbf.custom_ops.registry import DOMAIN
from onnxbf.files import load_model, save_model
from onnxbf.graph import PHASE_KEY, ROLE_KEY, Phase
from onnxbf.operators import Role
from onnxbf.passes.replace_gradients import restore_gradients
from onnxbf.recipe import load_recipe
from onnxbf.training.graphs import TrainingGraphs, build_graphs
from onnxbf.training.trainer import Trainer
from tests.implementations import same_bits
from tests.runtime import needs_training
from tests.training_batches import Arrays, batches_of

pytestmark = needs_training

MODELS = Path(__file__).parents[1] / "models"
NAMES = ["torch_cnn_unoptimized", "torch_gpt2"]  # a CNN with batch normalization, a transformer
STEPS, RATE = 50, 0.05


def _graphs(name: str) -> tuple[TrainingGraphs, list[Arrays]]:
    """The graphs in float32, and batches."""
    data = np.load(MODELS / "training" / f"{name}.npz")
    graphs = build_graphs(
        load_model(MODELS / f"{name}.onnx"), "cross-entropy", "momentum{momentum=0.9}"
    )
    return graphs, batches_of(data, graphs.attached.labels[0])


def _train(
    graphs: TrainingGraphs, batches: list[Arrays], threads: int, steps: int = STEPS
) -> tuple[list[float], Arrays]:
    trainer = Trainer(graphs, threads=threads)
    losses = [trainer.step([batches[step % len(batches)]], RATE).loss for step in range(steps)]
    return losses, {name: array.copy() for name, array in trainer.state().items()}


def _assert_same(one: tuple[list[float], Arrays], other: tuple[list[float], Arrays]) -> None:
    assert one[0] == other[0]
    assert one[1].keys() == other[1].keys()
    for name, array in one[1].items():
        assert same_bits(array, other[1][name]), name


@pytest.mark.parametrize("name", [*NAMES, "torch_llama"])
def test_cast_pairs_and_custom_operators_train_alike_on_one_thread_and_two(name: str) -> None:
    graphs, batches = _graphs(name)
    custom = graphs.under(load_recipe("bf16"))
    portable = graphs.under(load_recipe("bf16"), portable=True)
    assert any(node.domain == DOMAIN for node in custom.gradient.graph)
    assert not any(node.domain == DOMAIN for node in portable.gradient.graph)
    wanted = _train(custom, batches, threads=1)
    assert wanted[0][-1] < wanted[0][0]
    _assert_same(_train(custom, batches, threads=2), wanted)
    restore_gradients(custom.gradient)  # our kernels sum them in another order
    wanted = _train(custom, batches, threads=1)
    for threads in (1, 2):
        _assert_same(_train(portable, batches, threads), wanted)
    plain = graphs.under(load_recipe("none"))
    float32 = _train(plain, batches, threads=1)
    assert float32[0] != wanted[0]  # rounding does something
    _assert_same(_train(plain, batches, threads=2), float32)


_STOCHASTIC = """
[[rules]]
ops = ["gemm", "elementwise", "normalization", "reduction", "selection"]
inputs = "bf16:sr"
weights = "bf16:sr"
gradients = "bf16:sr"
weight_gradients = "bf16:sr"
"""


@pytest.mark.parametrize("name", NAMES)
def test_stochastic_rounding_repeats_for_a_seed_on_any_threads(name: str, tmp_path: Path) -> None:
    path = tmp_path / "stochastic.toml"
    path.write_text(_STOCHASTIC, encoding="utf-8")
    recipe = load_recipe(path)
    graphs, batches = _graphs(name)
    wanted = _train(graphs.under(recipe, seed=1), batches, threads=1, steps=20)
    for threads in (1, 2):
        _assert_same(_train(graphs.under(recipe, seed=1), batches, threads, steps=20), wanted)
    assert _train(graphs.under(recipe, seed=2), batches, threads=1, steps=20)[0] != wanted[0]


@pytest.mark.parametrize("name", NAMES)
def test_a_tensor_is_rounded_once_for_both_passes(name: str) -> None:
    graphs, _ = _graphs(name)
    under = graphs.under(load_recipe("bf16"))
    rounded = [change.tensor for change in under.report.changes]
    assert len(rounded) == len({*rounded})


@pytest.mark.parametrize("name", ["torch_llama", "torch_gpt2", "torch_cnn_unoptimized"])
def test_biases_and_norm_parameters_are_in_float32_and_so_are_their_gradients(name: str) -> None:
    graphs, _ = _graphs(name)
    report = graphs.under(load_recipe("bf16")).report
    vectors = {key for key in graphs.trained if graphs.state[key].ndim == 1}
    matrices = {*graphs.trained} - vectors
    assert vectors
    assert not vectors & {change.tensor for change in report.changes}
    rounded = {change.tensor for change in report.changes if change.role == "weight_gradients"}
    assert rounded == {f"{key}.gradient" for key in matrices}


@pytest.mark.parametrize("portable", [False, True])
def test_roles_and_phases_survive_saving(portable: bool, tmp_path: Path) -> None:
    graphs, _ = _graphs("torch_cnn_unoptimized")
    under = graphs.under(load_recipe("bf16"), portable=portable)
    path = tmp_path / "gradient.onnx"
    save_model(under.gradient, path)
    nodes = {node.name: node for node in load_model(path).graph}
    assert {change.role for change in under.report.changes} == {
        *(role.value for role in (Role.INPUT, Role.WEIGHT, Role.OUTPUT)),
        *(role.value for role in (Role.GRADIENT, Role.WEIGHT_GRADIENT)),
    }
    for change in under.report.changes:
        assert nodes[change.quantize].metadata_props[ROLE_KEY] == change.role
    computed = [node for node in nodes.values() if node.op_type in ("Conv", "ConvGrad", "Gemm")]
    assert {node.metadata_props[PHASE_KEY] for node in computed} == {
        *(phase.value for phase in Phase if phase is not Phase.UPDATE)
    }

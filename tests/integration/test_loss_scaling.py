"""Scaled losses in training: powers of two change no bit, and overflow changes no weight."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxbf.protos import from_proto
from onnxbf.recipe import load_recipe
from onnxbf.training.graphs import TrainingGraphs, build_graphs
from onnxbf.training.loss_scale import LossScale, parse_loss_scale
from onnxbf.training.trainer import LossNotFinite, Trainer
from tests.implementations import same_bits
from tests.runtime import needs_training

pytestmark = needs_training

_TEXT = """<ir_version: 9, opset_import: ["" : 17]>
g (float[N,2] x) => (float[N,3] y) <float[2,3] w = {0.5, -0.25, 1, 0.75, 0.5, -1}> {
  y = MatMul (x, w)
}"""
BATCH = {
    "x": np.array([[1, 2], [-1, 0.5], [3, 1], [0.25, -2]], np.float32),
    "labels": np.array([0, 2, 1, 1]),
}
RATE = 0.125


def _graphs(recipe: str, optimizer: str = "sgd") -> TrainingGraphs:
    model = from_proto(onnx.parser.parse_model(_TEXT))
    return build_graphs(model, "cross-entropy", optimizer).under(load_recipe(recipe))


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam", "lion"])
@pytest.mark.parametrize("recipe", ["none", "bf16"])
def test_a_power_of_two_changes_no_bit(recipe: str, optimizer: str) -> None:
    graphs = _graphs(recipe, optimizer)
    plain, *others = (Trainer(graphs, loss_scale=LossScale(2.0**k)) for k in (0, -60, -8, 8, 60))
    for _ in range(5):
        wanted = plain.step([BATCH], RATE)
        for scaled in others:
            done = scaled.step([BATCH], RATE)
            assert (done.loss, done.norm, done.skipped) == (wanted.loss, wanted.norm, False)
    for scaled in others:
        for name, array in plain.state().items():
            assert same_bits(scaled.state()[name], array), name


def test_the_mean_of_a_batch_with_itself_is_the_batch() -> None:
    graphs = _graphs("bf16", "momentum")
    once, twice = (Trainer(graphs, loss_scale=LossScale(2.0**10)) for _ in range(2))
    for _ in range(3):
        assert once.step([BATCH], RATE).norm == twice.step([BATCH, BATCH], RATE).norm
    assert same_bits(once.state()["w"], twice.state()["w"])


def test_a_dynamic_scale_comes_down_without_touching_the_weights_and_goes_up_again() -> None:
    graphs = _graphs("fp16", "adam")
    trainer = Trainer(
        graphs, loss_scale=parse_loss_scale("dynamic{init=2097152,growth_interval=3}")
    )
    before = {name: array.copy() for name, array in trainer.state().items()}
    steps = [trainer.step([BATCH], RATE)]
    while steps[-1].skipped:
        for name, array in trainer.state().items():
            assert same_bits(array, before[name]), name
        assert trainer.updates == 0
        steps.append(trainer.step([BATCH], RATE))
    skipped = len(steps) - 1
    assert skipped >= 2
    assert trainer.loss_scale.skipped == skipped
    assert [step.loss_scale for step in steps] == [2.0 ** (21 - k) for k in range(len(steps))]
    assert trainer.updates == 1 and trainer.index == len(steps)
    assert not same_bits(trainer.state()["w"], before["w"])

    # from here on it is a run that began at this scale: Adam counts updates, not steps
    fresh = Trainer(graphs, loss_scale=LossScale(steps[-1].loss_scale))
    fresh.step([BATCH], RATE)
    for name, array in fresh.state().items():
        assert same_bits(array, trainer.state()[name]), name

    reached = trainer.loss_scale.scale
    scales = [trainer.step([BATCH], 0.0).loss_scale for _ in range(4)]
    assert scales[:3] == [reached, reached, 2 * reached]


def test_a_fixed_scale_that_overflows_skips_every_step() -> None:
    trainer = Trainer(_graphs("fp16"), loss_scale=LossScale(2.0**40))
    before = trainer.state()["w"].copy()
    assert all(trainer.step([BATCH], RATE).skipped for _ in range(3))
    assert trainer.loss_scale == LossScale(2.0**40, skipped=3)
    assert trainer.updates == 0 and same_bits(trainer.state()["w"], before)


def test_overflow_in_one_of_several_batches_skips_the_step_and_leaves_no_trace() -> None:
    graphs = _graphs("fp16")
    trainer, clean = (Trainer(graphs, stop_on_nan=False) for _ in range(2))
    bad = {**BATCH, "x": np.full((4, 2), np.inf, np.float32)}
    assert trainer.step([BATCH, bad], RATE).skipped
    for each in (trainer, clean):
        each.step([BATCH, BATCH], RATE)
    assert same_bits(trainer.state()["w"], clean.state()["w"])


def test_a_loss_that_is_not_finite_is_no_matter_of_scaling() -> None:
    bad = {**BATCH, "x": np.full((4, 2), np.nan, np.float32)}
    with pytest.raises(LossNotFinite):
        Trainer(_graphs("bf16"), loss_scale=parse_loss_scale("dynamic")).step([bad], RATE)

"""Numeric health in training: it changes no bit, and counts what is there to be counted."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from onnxbf.errors import UnsupportedError
from onnxbf.formats import parse_cast
from onnxbf.passes.representable import node_cast
from onnxbf.protos import to_proto
from onnxbf.recipe import load_recipe
from onnxbf.rounding import round_array
from onnxbf.scaled_cast import parse_scaled_cast
from onnxbf.session import make_session, run
from onnxbf.studies.networks import digits_mlp
from onnxbf.training.graphs import TrainingGraphs, build_graphs
from onnxbf.training.health import NodeHealth, UpdateHealth
from onnxbf.training.loss_scale import LossScale
from onnxbf.training.trainer import Trainer
from tests.integration.test_torch_training import Arrays, load
from tests.runtime import needs_training

pytestmark = needs_training

CNN, TRANSFORMER = "torch_cnn_unoptimized", "torch_gpt2"
NARROW = """
[[rules]]
ops = ["gemm", "elementwise"]
inputs = "e4m3fn:sr{overflow=saturate}"
weights = "bf16:sr"
outputs = "fp16"
gradients = "e5m2{overflow=saturate}"
"""

SCALED = """
[[rules]]
ops = ["gemm"]
inputs = "e4m3fn:rne{scaling=current}"
weights = "e2m1:rne{scaling=current}"
"""


def under(name: str, recipe: str, folder: Path) -> tuple[TrainingGraphs, list[Arrays]]:
    _, graphs, batches = load(name)
    if recipe.startswith("narrow"):
        text = NARROW if recipe == "narrow" else NARROW.replace("e5m2{overflow=saturate}", "e5m2")
        path = folder / "narrow.toml"
        path.write_text(text, encoding="utf-8")
        return graphs.under(load_recipe(path), seed=5), batches
    return graphs.under(load_recipe(recipe)), batches


def of_nodes(trainer: Trainer) -> list[NodeHealth]:
    return [found for found in trainer.health() if isinstance(found, NodeHealth)]


def of_updates(trainer: Trainer) -> dict[str, UpdateHealth]:
    found = (found for found in trainer.health() if isinstance(found, UpdateHealth))
    return {health.parameter: health for health in found}


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        (CNN, "bf16"),
        (CNN, "narrow"),
        (CNN, "fp8-chunked"),
        (CNN, "fp8-current"),
        (CNN, "fp8-delayed"),
        (TRANSFORMER, "bf16"),
        (TRANSFORMER, "narrow"),
        (TRANSFORMER, "avx512-bf16"),
    ],
)
def test_weights_are_the_same_bits_with_and_without(name: str, recipe: str, tmp_path: Path) -> None:
    graphs, batches = under(name, recipe, tmp_path)
    trainers = [Trainer(graphs, threads=1, health_every=every) for every in (0, 1, 3)]
    for index in range(7):
        first, second = batches[index % len(batches)], batches[(index + 1) % len(batches)]
        several = [first, second] if index % 2 else [first]
        steps = {trainer.step(several, 0.05) for trainer in trainers}
        assert len(steps) == 1
        measured = [bool(trainer.health()) for trainer in trainers]
        assert measured == [False, True, index % 3 == 0]
    plain, *observed = (trainer.state() for trainer in trainers)
    for name, array in plain.items():
        assert all(state[name].tobytes() == array.tobytes() for state in observed), name


@pytest.mark.parametrize(
    ("recipe", "fate"), [("narrow", "saturated"), ("narrow, infinite", "overflow")]
)
def test_counts_are_those_of_the_tensors(recipe: str, fate: str, tmp_path: Path) -> None:
    """Judged by NumPy, on the tensors that each node reads and writes."""
    graphs, batches = under(CNN, recipe, tmp_path)
    scale = 2.0**28
    trainer = Trainer(graphs, threads=1, loss_scale=LossScale(scale), health_every=1)
    model = graphs.gradient.clone()
    roundings = [(node, node_cast(node)) for node in model.graph if node_cast(node) is not None]
    shown = [value for node, _ in roundings for value in (node.inputs[0], *node.outputs)]
    model.graph.outputs.extend(v for v in {*shown} - {*model.graph.outputs} if v.producer())
    session = make_session(to_proto(model).SerializeToString(), threads=1)
    given = {**graphs.state, **batches[0]}
    given |= {"loss_scale": np.array(scale, np.float32), "step": np.array(0, np.int64)}
    feeds = {value.name: given[value.name] for value in session.get_inputs()}
    tensors = {**feeds, **run(session, feeds)}
    trainer.step([batches[0]], 0.05)
    found = of_nodes(trainer)
    assert [health.node for health in found] == [node.name for node, _ in roundings]
    for health, (node, cast) in zip(found, roundings, strict=True):
        source, rounded = node.inputs[0].name, node.outputs[0].name
        x, q = (tensors[name].astype(np.float64) for name in (source, rounded))
        assert (health.tensor, health.cast, health.elements) == (source, str(cast), x.size)
        assert health.overflow == np.sum(np.isfinite(x) & ~np.isfinite(q))
        assert health.saturated == np.sum((np.abs(x) > cast.format.max) & np.isfinite(q))
        assert health.underflow == np.sum((x != 0) & (q == 0))
        assert health.nan == np.sum(np.isnan(q))
        kept = np.isfinite(x) & np.isfinite(q)
        signal, noise = np.sum(x[kept] ** 2), np.sum((x - q)[kept] ** 2)
        assert (health.snr_db is None) == (noise == 0)
        if health.snr_db is not None:
            assert health.snr_db == pytest.approx(10 * math.log10(signal / noise), abs=1e-4)
    phases = {health.phase for health in found}
    assert phases == {"forward", "input_gradient", "weight_gradient"}
    assert all(any(getattr(health, name) for health in found) for name in (fate, "underflow"))


def test_scaled_numbers_are_counted_as_they_are_rounded(tmp_path: Path) -> None:
    """Judged by NumPy, on the tensors that each node reads."""
    path = tmp_path / "scaled.toml"
    path.write_text(SCALED, encoding="utf-8")
    _, graphs, batches = load(CNN)
    graphs = graphs.under(load_recipe(path))
    trainer = Trainer(graphs, threads=1, health_every=1)
    model = graphs.gradient.clone()
    scaled = [node for node in model.graph if node.op_type == "QuantizeScaled"]
    shown = {node.inputs[0] for node in scaled}
    model.graph.outputs.extend(v for v in shown - {*model.graph.outputs} if v.producer())
    session = make_session(to_proto(model).SerializeToString(), threads=1)
    given = {**graphs.state, **batches[0], "loss_scale": np.float32(1)}
    feeds = {value.name: np.asarray(given[value.name]) for value in session.get_inputs()}
    tensors = {**feeds, **run(session, feeds)}
    trainer.step([batches[0]], 0.05)
    found = {health.node: health for health in of_nodes(trainer)}
    assert scaled and {node.name for node in scaled} <= {*found}
    for node in scaled:
        health = found[node.name]
        cast = parse_scaled_cast(health.cast)
        x = tensors[node.inputs[0].name]
        factor = np.float32(cast.cast.format.max) / np.abs(x).max()
        numbers = x * factor
        rounded = round_array(numbers, cast.cast)
        assert (health.elements, health.nan, health.overflow) == (x.size, 0, 0)
        assert health.saturated == np.sum(np.abs(numbers) > cast.cast.format.max)
        assert health.underflow == np.sum((numbers != 0) & (rounded == 0))
        noise = np.sum((numbers.astype(np.float64) - rounded) ** 2)
        signal = np.sum(numbers.astype(np.float64) ** 2)
        assert health.snr_db == pytest.approx(10 * math.log10(signal / noise), abs=1e-4)
    assert any(health.underflow for health in found.values())
    assert str(trainer.unobserved()) == ""


@pytest.mark.parametrize("name", [CNN, TRANSFORMER])
@pytest.mark.parametrize(("recipe", "plain"), [("arm-bf16", "bf16"), ("fp8-chunked", "fp8")])
def test_products_that_round_tell_what_nodes_beside_others_do(
    name: str, recipe: str, plain: str, tmp_path: Path
) -> None:
    """Of weights, which are the same ones in both, all numbers agree."""
    found = []
    for used in (recipe, plain):
        graphs, batches = under(name, used, tmp_path)
        trainer = Trainer(graphs, threads=1, health_every=1)
        trainer.step([batches[0]], 0.05)
        found.append(of_nodes(trainer))
        assert str(trainer.unobserved()) == ""
        assert any(update.cast != "fp32:rne" for update in of_updates(trainer).values())
    emulated, beside = (
        sorted((h.role, h.phase, h.cast, h.elements) for h in healths) for healths in found
    )
    assert emulated == beside
    told = [
        {(h.tensor, h.cast): replace(h, node="") for h in healths if h.role == "weights"}
        for healths in found
    ]
    assert told[0] and told[0] == told[1]


def test_batches_of_a_step_are_added_up(tmp_path: Path) -> None:
    graphs, batches = under(CNN, "bf16", tmp_path)
    trainer = Trainer(graphs, threads=1, health_every=1)
    trainer.step(batches[:1], 0.0)
    alone = [health.elements for health in of_nodes(trainer)]
    trainer.step(batches[:3], 0.0)
    assert [health.elements for health in of_nodes(trainer)] == [3 * count for count in alone]


@pytest.mark.parametrize("rate", [1e-9, 1e-3, 0.5])
def test_updates_are_compared_with_weights(rate: float, tmp_path: Path) -> None:
    graphs, batches = under(CNN, "bf16", tmp_path)
    trainer = Trainer(graphs, threads=1, health_every=1)
    before = {name: trainer.state()[name].copy() for name in graphs.trained}
    trainer.step([batches[0]], rate)
    after, found = trainer.state(), of_updates(trainer)
    assert [*found] == [*graphs.trained]
    for name, health in found.items():
        slot = after[f"{name}.momentum"]  # after the first step, the gradient itself
        updated = slot * np.float32(rate) != 0
        cast = parse_cast(health.cast)
        copies = [round_array(weights, cast) for weights in (before[name], after[name])]
        assert (health.elements, health.updated) == (slot.size, np.count_nonzero(updated))
        assert health.swallowed == np.sum(updated & (before[name] == after[name]))
        assert health.unseen == np.sum(updated & (copies[0] == copies[1]))
    is_rounded = {name: health.cast == "bf16:rne" for name, health in found.items()}
    assert is_rounded["classifier.weight"] and not is_rounded["classifier.bias"]


def test_small_updates_are_swallowed_and_larger_ones_unseen(tmp_path: Path) -> None:
    graphs, batches = under(CNN, "bf16", tmp_path)
    shares = []
    for rate in (1e-9, 1e-5):
        trainer = Trainer(graphs, threads=1, health_every=1)
        trainer.step([batches[0]], rate)
        shares.append(of_updates(trainer)["classifier.weight"].record())
    assert shares[0]["swallowed_share"] > 0.9
    assert shares[1]["swallowed_share"] < 0.1
    assert shares[1]["unseen_share"] > 0.9


@pytest.mark.parametrize(
    ("rule", "low", "high"),
    [("fp32_master", 0.999, 1.001), ("nearest", 0.0, 0.9), ("stochastic", 0.7, 1.3)],
)
def test_descent_is_what_rounding_leaves_of_an_update(rule: str, low: float, high: float) -> None:
    graphs = build_graphs(digits_mlp(0), "cross-entropy", "sgd", weight_update=rule)
    trainer = Trainer(graphs.under(load_recipe("bf16")), threads=1, health_every=1)
    images = np.random.default_rng(0).normal(size=(8, 1, 8, 8)).astype(np.float32)
    trainer.step([{"x": images, graphs.attached.labels[0]: np.arange(8)}], 1e-3)
    found = of_updates(trainer)["p0"]
    assert found.descent is not None and low <= found.descent <= high
    assert found.scalars()["descent/p0"] == found.record()["descent"] == found.descent


def test_overflow_and_the_step_that_it_costs(tmp_path: Path) -> None:
    graphs, batches = under(CNN, "fp16", tmp_path)
    trainer = Trainer(graphs, threads=1, loss_scale=LossScale(2.0**30), health_every=1)
    assert trainer.step([batches[0]], 0.1).skipped
    gradients = [health for health in of_nodes(trainer) if health.role == "gradients"]
    assert sum(health.overflow for health in gradients) > 0
    assert not of_updates(trainer)


def test_records_are_json(tmp_path: Path) -> None:
    graphs, batches = under(CNN, "narrow", tmp_path)
    trainer = Trainer(graphs, threads=1, health_every=2)
    for index in range(3):
        trainer.step([batches[index]], 0.05)
    records = [json.loads(json.dumps(h.record(), allow_nan=False)) for h in trainer.health()]
    assert {record["kind"] for record in records} == {"rounding", "update"}
    assert {record["step"] for record in records} == {2}
    curves = [curve for health in trainer.health() for curve in health.scalars()]
    assert len(curves) == len({*curves}) > len(records)


def test_without_a_recipe_updates_are_observed_alone(tmp_path: Path) -> None:
    graphs, batches = under(CNN, "none", tmp_path)
    trainer = Trainer(graphs, threads=1, health_every=1)
    trainer.step([batches[0]], 0.05)
    assert not of_nodes(trainer)
    assert {*of_updates(trainer)} == {*graphs.trained}


def test_portable_roundings_are_refused() -> None:
    _, graphs, _ = load(CNN)
    portable = graphs.under(load_recipe("bf16"), portable=True)
    with pytest.raises(UnsupportedError, match="cannot be observed"):
        Trainer(portable, health_every=1)

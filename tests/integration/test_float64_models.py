"""Models exported in float64 are trained in float32; the judge is the float64 model as exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, numpy_helper

from onnxbf.cli.main import group
from onnxbf.files import load_model
from onnxbf.protos import to_proto
from onnxbf.session import make_session, run
from onnxbf.training.gradients import differentiate
from onnxbf.training.parameters import choose_parameters
from onnxbf.training.prepare import prepare
from tests.doubles import evaluator
from tests.integration.test_gradients import TOLERANCE, add_loss
from tests.runtime import needs_training

pytestmark = needs_training
MODELS = Path(__file__).parents[1] / "models"
Array = np.ndarray[Any, Any]


@pytest.mark.parametrize("name", ["sklearn_mlp_float64", "sklearn_gaussian_process"])
def test_gradients_are_those_of_the_float64_model(name: str) -> None:
    path = MODELS / f"{name}.onnx"
    exported = onnx.load(path)
    data = np.load(path.with_suffix(".npz"))
    batch = {key.split("/", 1)[1]: data[key] for key in data if key.startswith("input/")}
    assert {array.dtype for array in batch.values()} == {np.dtype(np.float64)}
    model = prepare(load_model(path)).model
    add_loss(model)
    trained = choose_parameters(model).trained
    gradient = differentiate(model, "loss", trained)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in exported.graph.initializer}
    feeds = {key: array.astype(np.float32) for key, array in batch.items()}
    feeds |= {key: weights[key].astype(np.float32) for key in trained}
    session = make_session(to_proto(gradient).SerializeToString(), threads=1)
    found = run(session, {**feeds, "loss_scale": np.ones((), np.float32)})

    for key in trained:  # to be fed with other numbers
        tensor = next(t for t in exported.graph.initializer if t.name == key)
        value = onnx.helper.make_tensor_value_info(key, TensorProto.DOUBLE, tensor.dims)
        exported.graph.input.append(value)
    forward = evaluator(exported)
    doubles = {key: array.astype(np.float64) for key, array in feeds.items()}

    def loss(key: str, direction: Array, step: float) -> float:
        (y,) = forward.run(None, {**doubles, key: doubles[key] + step * direction})
        assert y.dtype == np.float64
        return float(np.sum(y * np.sin(y)))

    first = trained[0]
    assert found["loss"] == pytest.approx(loss(first, np.zeros_like(doubles[first]), 0), rel=1e-5)
    generator = np.random.default_rng(0)
    norm = np.sqrt(sum(np.sum(found[f"{key}.gradient"].astype(float) ** 2) for key in trained))
    for key in trained:
        direction = generator.standard_normal(doubles[key].shape)
        step = 1e-6 * max(float(np.abs(doubles[key]).max()), 1e-2)
        difference = (loss(key, direction, step) - loss(key, direction, -step)) / (2 * step)
        computed = found[f"{key}.gradient"].astype(float)
        size = np.linalg.norm(computed) + 1e-2 * norm
        assert abs(np.sum(computed * direction) - difference) <= TOLERANCE * size, key


def test_a_float64_model_is_trained_told_so_and_saved_in_float64(tmp_path: Path) -> None:
    path = MODELS / "sklearn_mlp_float64.onnx"
    features = np.random.default_rng(0).normal(size=(64, 8))
    targets = np.sin(features[:, :1])
    np.savez(tmp_path / "data.npz", features=features, labels=targets)
    arguments = (
        *("train", path, "--data", tmp_path / "data.npz", "--validation", tmp_path / "data.npz"),
        *("--loss", "mse", "--recipe", "bf16", "--epochs", 20, "--schedule", 0.01, "--threads", 1),
        *("-o", tmp_path / "run"),
    )
    result = CliRunner().invoke(group, [*map(str, arguments)], prog_name="onnxbf")
    assert result.exit_code == 0, result.output
    assert result.stderr.count("The model is in float64 ('features'") == 1
    saved = onnx.load(tmp_path / "run" / "seed-0" / "bf16.onnx")
    before = onnx.load(path)
    assert saved.graph.input == before.graph.input and saved.graph.output == before.graph.output
    onnx.checker.check_model(saved, full_check=True)
    losses = []
    for model in (before, saved):
        (y,) = run(make_session(model.SerializeToString()), {"features": features}).values()
        losses.append(float(np.mean((y - targets) ** 2)))
    assert losses[1] < 0.7 * losses[0]

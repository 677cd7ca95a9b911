"""Gradients of the exported models against finite differences in float64.

The forward model runs in float64 (tests/doubles.py), which shares nothing with the gradient graph.
Differences are taken along one random direction of every parameter, so a wrong entry shows.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxbf.builder import Builder
from onnxbf.files import load_model
from onnxbf.graph import Names, Phase, phase_of
from onnxbf.passes.lower_gradients import LowerGradients
from onnxbf.passes.split_gradients import SplitGradients
from onnxbf.protos import to_proto
from onnxbf.report import Report
from onnxbf.session import make_session, run
from onnxbf.training.gradients import differentiate
from onnxbf.training.parameters import choose_parameters
from onnxbf.training.prepare import prepare
from tests.doubles import directional, evaluator
from tests.runtime import needs_training

pytestmark = needs_training

MODELS = Path(__file__).parents[1] / "models"
DIFFERENTIABLE = [
    "jax_attention",
    "jax_cnn",
    "jax_mlp",
    "jax_transformer_functions",
    "keras_cnn",
    "keras_gru",
    "keras_lstm",
    "keras_mlp",
    "keras_transformer",
    "sklearn_mlp",
    "sklearn_mlp_regressor",
    "sklearn_text_columns",
    "torch_bert",
    "torch_cnn",
    "torch_cnn_unoptimized",
    "torch_control_flow",
    "torch_gpt2",
    "torch_gru",
    "torch_llama",
    "torch_lstm",
    "torch_resnet",
    "torch_unet",
    "torch_vit",
    "torchscript_bert",
    "torchscript_functions",
    "torchscript_gpt2",
    "torchscript_gru",
    "torchscript_lstm",
    "torchscript_resnet",
    "torchscript_unet",
]
TOLERANCE = 1e-5  # of the gradient's norm: some hundred float32 roundings


def add_loss(model: ir.Model) -> None:
    """A loss that is curved in every output: sum of y sin(y)."""
    outputs = [
        value
        for value in model.graph.outputs
        if value.dtype is ir.DataType.FLOAT and not (value.name or "").endswith(".next")
    ]
    b = Builder(Names(model), "loss")
    losses = [b.ReduceSum(b.Mul(b.Sin(value), value), keepdims=0) for value in outputs]
    loss = functools.reduce(b.Add, losses)
    loss.name, loss.dtype, loss.shape = "loss", ir.DataType.FLOAT, ir.Shape([])
    model.graph.extend(b.nodes)
    model.graph.outputs.append(loss)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    path = MODELS / f"{name}.onnx"
    prepared = prepare(load_model(path))
    model = prepared.model
    add_loss(model)
    trained = choose_parameters(model, buffers=prepared.buffers).trained
    gradient = differentiate(model, "loss", trained, prepared.buffers)
    SplitGradients(Report("none"))(gradient)
    LowerGradients(Report("none"))(gradient)

    data = np.load(path.with_suffix(".npz"))
    batch = {key.split("/", 1)[1]: data[key] for key in data if key.startswith("input/")}
    state = {
        key: model.graph.initializers[key].const_value.numpy()  # type: ignore[union-attr]
        for key in (*trained, *prepared.buffers)
    }
    session = make_session(to_proto(gradient).SerializeToString(), threads=1)
    found = run(session, {**batch, **state, "loss_scale": np.ones((), np.float32)})

    for key in state:
        model.graph.inputs.append(model.graph.initializers[key])
    forward = evaluator(to_proto(model))
    feeds = {key: _double(array) for key, array in {**batch, **state}.items()}
    assert found["loss"] == pytest.approx(forward.run(["loss"], feeds)[0], rel=1e-5)
    generator = np.random.default_rng(0)
    norm = np.sqrt(sum(np.sum(found[f"{key}.gradient"].astype(float) ** 2) for key in trained))
    for key in trained:
        direction = generator.standard_normal(state[key].shape)
        step = 1e-6 * max(float(np.abs(state[key]).max()), 1e-2)
        difference = directional(forward, "loss", feeds, key, direction, step)
        computed = found[f"{key}.gradient"].astype(float)
        size = np.linalg.norm(computed) + 1e-2 * norm  # some gradients are zero by symmetry
        assert abs(np.sum(computed * direction) - difference) <= TOLERANCE * size, key


def _double(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return array.astype(np.float64) if array.dtype == np.float32 else array


def test_every_node_has_a_phase_and_conv_gradients_are_split() -> None:
    prepared = prepare(load_model(MODELS / "torch_cnn.onnx"))
    add_loss(prepared.model)
    trained = choose_parameters(prepared.model).trained
    gradient = differentiate(prepared.model, "loss", trained)
    SplitGradients(Report("none"))(gradient)
    phases = {(node.op_type, phase_of(node)) for node in gradient.graph if "Conv" in node.op_type}
    assert phases == {
        ("Conv", Phase.FORWARD),
        ("ConvGrad", Phase.INPUT_GRADIENT),
        ("ConvGrad", Phase.WEIGHT_GRADIENT),
    }
    outputs = [value.name for value in gradient.graph.outputs]
    assert outputs[-len(trained) :] == [f"{name}.gradient" for name in trained]

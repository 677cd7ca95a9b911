"""Training models that ONNX Runtime's own generator made, rewritten by ``convert``.

They train in its Module, and as our own graphs of the same network do under the same recipe: losses
and weights are equal bit for bit.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from onnxbf import convert
from onnxbf.graph import BUFFER, KIND_KEY, PARAMETER, PHASE_KEY, ROLE_KEY
from onnxbf.passes.replace_gradients import restore_gradients
from onnxbf.protos import from_proto
from onnxbf.recipe import load_recipe
from onnxbf.training.artifacts import make_artifacts, save_artifacts
from onnxbf.training.graphs import build_graphs
from onnxbf.training.ort_optimizer import make_ort_optimizer
from onnxbf.training.trainer import Trainer
from tests.implementations import same_bits
from tests.ort_training_api import Array, Run, generate
from tests.runtime import needs_training
from tests.small_models import node, value

pytestmark = needs_training

RATE = 0.1
STATISTICS = ("mean", "variance")
FROZEN = {"cnn": (*STATISTICS, "second.weight"), "mlp": ()}
LOSSES = {"cross-entropy": "CrossEntropyLoss", "mse": "MSELoss"}
PHASES = {
    "mlp": {
        ("MatMul", "forward"): 1,
        ("Gemm", "forward"): 1,
        ("Gemm", "input_gradient"): 1,
        ("Gemm", "weight_gradient"): 2,
    },
    "cnn": {
        ("Conv", "forward"): 2,
        ("Gemm", "forward"): 1,
        ("Gemm", "input_gradient"): 1,
        ("Gemm", "weight_gradient"): 1,
        ("ConvGrad", "input_gradient"): 1,  # of the second convolution, which is frozen
        ("ConvGrad", "weight_gradient"): 1,
    },
}


def network(name: str) -> onnx.ModelProto:
    """An MLP, or a CNN with pooling and batch normalization, as for inference."""
    generator = np.random.default_rng(0)

    def normal(*shape: int) -> Array:
        return generator.normal(0, 0.3, shape).astype(np.float32)

    if name == "mlp":
        weights = {"first.weight": normal(12, 16), "first.bias": normal(16)}
        body = [
            node("MatMul", ["x", "first.weight"], "product"),
            node("Add", ["product", "first.bias"], "sum"),
            node("Tanh", ["sum"], "features"),
        ]
        shape = ["batch", 12]
    else:
        weights = {
            "first.weight": normal(4, 3, 3, 3),
            "second.weight": normal(16, 4, 3, 3),
            "scale": np.ones(16, np.float32),
            "shift": normal(16),
            "mean": np.zeros(16, np.float32),
            "variance": np.ones(16, np.float32),
        }
        normalized = ["convolved", "scale", "shift", *STATISTICS]
        body = [
            node("Conv", ["x", "first.weight"], "early", pads=[1, 1, 1, 1]),
            node("Relu", ["early"], "rectified"),
            node("MaxPool", ["rectified"], "pooled", kernel_shape=[2, 2], strides=[2, 2]),
            node("Conv", ["pooled", "second.weight"], "convolved", pads=[1, 1, 1, 1]),
            node("BatchNormalization", normalized, "normalized"),
            node("GlobalAveragePool", ["normalized"], "averaged"),
            node("Flatten", ["averaged"], "features"),
        ]
        shape = ["batch", 3, 8, 8]
    weights |= {"last.weight": normal(5, 16), "last.bias": normal(5)}
    body.append(node("Gemm", ["features", "last.weight", "last.bias"], "scores", transB=1))
    graph = helper.make_graph(
        body,
        name,
        [value("x", shape=shape)],
        [value("scores", shape=["batch", 5])],
        [numpy_helper.from_array(array, key) for key, array in weights.items()],
    )
    return helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 17)])


def in_training_form(model: onnx.ModelProto) -> onnx.ModelProto:
    """What the generator takes: it leaves batch normalization as it is."""
    made = onnx.ModelProto.FromString(model.SerializeToString())
    for each in made.graph.node:
        if each.op_type == "BatchNormalization":
            each.attribute.append(helper.make_attribute("training_mode", 1))
            each.output.extend(["mean_next", "variance_next"])
    return made


@pytest.fixture(params=["mlp/cross-entropy", "mlp/mse", "cnn/cross-entropy", "cnn/mse"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str, Path]:
    """A network and a loss, and what the generator made of them."""
    name, loss = request.param.split("/")
    model = network(name)
    initializers = [tensor.name for tensor in model.graph.initializer]
    trained = [each for each in initializers if each not in FROZEN[name]]
    frozen = [each for each in initializers if each in FROZEN[name]]
    made = in_training_form(model)
    generate(made, tmp_path, trained=trained, frozen=frozen, loss=LOSSES[loss])
    return name, loss, tmp_path


def batches(model: onnx.ModelProto, loss: str) -> list[tuple[Array, Array]]:
    generator = np.random.default_rng(1)
    shape = [size.dim_value or 8 for size in model.graph.input[0].type.tensor_type.shape.dim]
    made = []
    for _ in range(5):
        inputs = generator.normal(size=shape).astype(np.float32)
        labels = generator.integers(0, 5, 8)
        targets = generator.normal(size=(8, 5)).astype(np.float32)
        made.append((inputs, labels if loss == "cross-entropy" else targets))
    return made


def test_it_trains_as_our_own_graphs_do(case: tuple[str, str, Path]) -> None:
    name, loss, folder = case
    model = network(name)
    rewritten, report = convert(folder / "training_model.onnx", "bf16")
    assert report.changes
    onnx.save(rewritten, folder / "rewritten.onnx")
    run = Run(folder, training="rewritten.onnx")
    freeze = [f"^{each}$" for each in FROZEN[name] if each not in STATISTICS]
    graphs = build_graphs(from_proto(model), loss, "sgd", freeze=freeze).under(load_recipe("bf16"))
    restore_gradients(graphs.gradient)  # our kernels sum in another order
    trainer = Trainer(graphs, threads=1)
    x, target = run.module.input_names()
    (labels,) = graphs.attached.labels
    for inputs, expected in batches(model, loss):
        found = run.step({x: inputs, target: expected}, RATE)
        assert found == trainer.step([{"x": inputs, labels: expected}], RATE).loss
    arrays = run.arrays()
    assert arrays.keys() >= trainer.state().keys()
    for key, array in trainer.state().items():
        assert same_bits(array, arrays[key]), key


def test_phases_kinds_and_roles_are_stamped(case: tuple[str, str, Path]) -> None:
    name, _, folder = case
    model, _ = convert(folder / "training_model.onnx", "bf16")
    kinds = {each.name: _of(each, KIND_KEY) for each in model.graph.input}
    initializers = {tensor.name for tensor in network(name).graph.initializer}
    assert {key for key, kind in kinds.items() if kind == PARAMETER} == initializers - {*STATISTICS}
    assert {key for key, kind in kinds.items() if kind == BUFFER} == initializers & {*STATISTICS}
    rounding = [each for each in model.graph.node if each.op_type == "QuantizeDequantize"]
    roles = {each.input[0]: _of(each, ROLE_KEY) for each in rounding}
    assert roles["x"] == "inputs"
    assert {roles[key] for key in initializers if key.endswith("weight")} == {"weights"}
    backward = {"gradients", "outputs", "weight_gradients"}
    assert {roles[key] for key in roles if key.endswith("_grad")} <= backward
    weights = {f"{key}_grad" for key in initializers - {*FROZEN[name]} if key.endswith("weight")}
    assert {key for key in roles if roles[key] == "weight_gradients"} == weights
    phases = Counter(
        (each.op_type, _of(each, PHASE_KEY))
        for each in model.graph.node
        if each.op_type in ("Gemm", "MatMul", "Conv", "ConvGrad", "InPlaceAccumulatorV2")
    )
    sums = len(initializers) - len(FROZEN[name])
    assert phases["InPlaceAccumulatorV2", "weight_gradient"] == sums
    del phases["InPlaceAccumulatorV2", "weight_gradient"]
    assert phases == PHASES[name]


def _of(owner: onnx.NodeProto | onnx.ValueInfoProto, key: str) -> str | None:
    return next((entry.value for entry in owner.metadata_props if entry.key == key), None)


def test_the_loss_stays_in_float32(case: tuple[str, str, Path]) -> None:
    _, _, folder = case
    model, _ = convert(folder / "training_model.onnx", "bf16")
    producers = {output: each for each in model.graph.node for output in each.output}
    loss = [each for each in model.graph.node if each.name.startswith("onnx::")]
    rounded = {
        name
        for each in loss
        for name in each.input
        if name in producers and producers[name].op_type == "QuantizeDequantize"
    }
    assert loss
    assert rounded <= {"scores", "scores_bf16"}  # the network's own output


def test_artifacts_of_ours_can_be_rewritten_later(tmp_path: Path) -> None:
    graphs = build_graphs(from_proto(network("cnn")), "cross-entropy", "sgd")
    folder = tmp_path / "made"
    save_artifacts(make_artifacts(graphs, make_ort_optimizer("sgd")), folder)
    onnx.save(convert(folder / "training_model.onnx", "bf16")[0], folder / "rewritten.onnx")
    run = Run(folder, training="rewritten.onnx")
    rounding = graphs.under(load_recipe("bf16"))
    restore_gradients(rounding.gradient)
    trainer = Trainer(rounding, threads=1)
    for inputs, labels in batches(network("cnn"), "cross-entropy"):
        batch = {"x": inputs, "labels": labels}
        assert run.step(batch, RATE) == trainer.step([batch], RATE).loss

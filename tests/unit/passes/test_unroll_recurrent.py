"""Recurrent nodes unrolled, against ONNX Runtime's own kernels and ONNX's backend tests."""

from __future__ import annotations

import functools
import itertools
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.test.loader import load_model_tests
from onnx_ir.passes.common import ShapeInferencePass

from onnxbf.files import load_model
from onnxbf.passes.unroll_recurrent import UnrollRecurrent
from onnxbf.protos import from_proto, to_proto
from onnxbf.report import Report
from onnxbf.session import make_session, run

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
LENGTH, BATCH, WIDTH, HIDDEN = 4, 3, 5, 2


@functools.cache
def backend_tests() -> dict[str, Any]:
    """ONNX's own tests of recurrent nodes but two, whose sequence lengths are given as data."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {test.name: test for test in load_model_tests(kind="node")}
    names = re.compile(r"test_(lstm|gru|simple_rnn|rnn)_")
    return {
        name: test
        for name, test in found.items()
        if names.match(name) and name not in ("test_rnn_seq_length", "test_lstm_with_peepholes")
    }


def model(op_type: str, inputs: str = "bhcp", **attributes: Any) -> onnx.ModelProto:
    """A recurrent node; ``inputs`` has a letter for each optional input that is there."""
    generator = np.random.default_rng(0)
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    width = GATES[op_type] * HIDDEN
    first = (BATCH, directions, HIDDEN) if attributes.get("layout") else (directions, BATCH, HIDDEN)
    shapes = {
        "w": (directions, width, WIDTH),
        "r": (directions, width, HIDDEN),
        "b": (directions, 2 * width),
        "h": first,
        "c": first,
        "p": (directions, 3 * HIDDEN),
    }
    optional = ["b", "", "h"] + (["c", "p"] if op_type == "LSTM" else [])
    names = ["x", "w", "r", *(name if name in inputs else "" for name in optional)]
    outputs = ["y", "y_h", "y_c"][: 3 if op_type == "LSTM" else 2]
    node = helper.make_node(op_type, names, outputs, "cell", hidden_size=HIDDEN, **attributes)
    size = (BATCH, LENGTH, WIDTH) if attributes.get("layout") else (LENGTH, BATCH, WIDTH)
    weights = [
        numpy_helper.from_array(generator.standard_normal(shapes[name]).astype(np.float32), name)
        for name in names[1:]
        if name
    ]
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, size)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def unrolled(proto: onnx.ModelProto) -> tuple[onnx.ModelProto, Report]:
    made, report = from_proto(proto), Report("none")
    ShapeInferencePass()(made)
    UnrollRecurrent(report)(made)
    return to_proto(made), report


def check(proto: onnx.ModelProto) -> None:
    made, report = unrolled(proto)
    assert not report.warnings
    assert not {node.op_type for node in made.graph.node} & set(GATES)
    size = [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(1).standard_normal(size).astype(np.float32)
    found, expected = (
        run(make_session(m.SerializeToString(), threads=1), {"x": x}) for m in (made, proto)
    )
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], atol=2e-6, err_msg=name)


DIRECTIONS = ("forward", "reverse", "bidirectional")


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("inputs", ["", "b", "h", "bh", "bhc", "bhcp"])
def test_lstm(direction: str, inputs: str) -> None:
    check(model("LSTM", inputs, direction=direction))


@pytest.mark.parametrize(("direction", "reset"), [*itertools.product(DIRECTIONS, (0, 1))])
@pytest.mark.parametrize("inputs", ["", "b", "bh"])
def test_gru(direction: str, reset: int, inputs: str) -> None:
    check(model("GRU", inputs, direction=direction, linear_before_reset=reset))


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("inputs", ["", "bh"])
def test_rnn(direction: str, inputs: str) -> None:
    check(model("RNN", inputs, direction=direction))


@pytest.mark.parametrize("op_type", [*GATES])
def test_clip(op_type: str) -> None:
    check(model(op_type, clip=0.3))


def test_input_forget() -> None:
    check(model("LSTM", input_forget=1))


@pytest.mark.parametrize(
    ("activation", "numbers"),
    [
        ("Relu", {}),
        ("Tanh", {}),
        ("Sigmoid", {}),
        ("Softsign", {}),
        ("Softplus", {}),
        ("Elu", {"activation_alpha": [0.5]}),
        ("LeakyRelu", {"activation_alpha": [0.2]}),
        ("ThresholdedRelu", {"activation_alpha": [0.3]}),
        ("HardSigmoid", {"activation_alpha": [0.3], "activation_beta": [0.4]}),
        ("Affine", {"activation_alpha": [0.3], "activation_beta": [0.4]}),
        ("ScaledTanh", {"activation_alpha": [1.5], "activation_beta": [0.7]}),
    ],
)
def test_activations(activation: str, numbers: dict[str, list[float]]) -> None:
    check(model("RNN", activations=[activation], **numbers))


def test_activations_of_each_gate_and_direction() -> None:
    names = ["Sigmoid", "LeakyRelu", "Affine", "HardSigmoid", "Tanh", "Relu"]
    numbers = {"activation_alpha": [0.1, 0.7, 0.3], "activation_beta": [0.2, 0.6]}
    check(model("LSTM", direction="bidirectional", activations=names, **numbers))


@pytest.mark.parametrize("name", [*backend_tests()])
def test_the_backend_tests_of_onnx(name: str) -> None:
    test = backend_tests()[name]
    made, report = unrolled(test.model)
    assert not report.warnings
    made.ir_version = 8
    made.opset_import[0].version = min(made.opset_import[0].version, 21)
    ((inputs, outputs),) = test.data_sets
    feeds = dict(zip((value.name for value in made.graph.input), inputs))
    found = run(make_session(made.SerializeToString(), threads=1), feeds)
    for value, expected in zip(made.graph.output, outputs):
        np.testing.assert_allclose(found[value.name], expected, atol=1e-5)


def test_unknown_lengths_stay_whole_with_a_warning() -> None:
    proto = model("LSTM")
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "length"
    made, report = unrolled(proto)
    assert [node.op_type for node in made.graph.node] == ["LSTM"]
    assert report.warnings == [
        "LSTM node 'cell' stays whole: its sequence length is not fixed. Export the model with a "
        "fixed length."
    ]


def test_weights_stay_the_same_initializers() -> None:
    made = from_proto(model("GRU"))
    before = dict(made.graph.initializers)
    ShapeInferencePass()(made)
    UnrollRecurrent(Report("none"))(made)
    assert dict(made.graph.initializers) == before
    names = {node.name for node in made.graph}
    assert "cell/forward/step_3/Tanh" in names


@pytest.mark.parametrize("name", ["torch_lstm", "torch_gru", "torchscript_gru"])
def test_exported_models(name: str) -> None:
    path = Path(__file__).parents[2] / "models" / f"{name}.onnx"
    made = load_model(path)
    ShapeInferencePass()(made)
    UnrollRecurrent(Report("none"))(made)
    assert not {node.op_type for node in made.graph} & set(GATES)
    data = np.load(path.with_suffix(".npz"))
    feeds = {key.split("/")[1]: data[key] for key in data if key.startswith("input/")}
    found = run(make_session(to_proto(made).SerializeToString(), threads=1), feeds)
    for key, array in found.items():
        np.testing.assert_allclose(array, data[f"output/{key}"], atol=1e-5)

"""Dropout drawn from a counter: what is dropped, how often, and that the gradient agrees."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxbf.passes.counter_dropout import CounterDropout
from onnxbf.protos import from_proto, to_proto
from onnxbf.report import Report
from onnxbf.session import make_session, run
from onnxbf.training.gradients import differentiate
from tests.runtime import needs_training

pytestmark = needs_training
ROWS, WIDTH = 200, 300


def gradient_graph(ratio: float) -> ir.Model:
    """Loss = sum of c * dropout(x * w), so the gradient of w shows the mask as it was."""
    nodes = [
        helper.make_node("Mul", ["x", "w"], ["product"], name="scale"),
        helper.make_node("Dropout", ["product", "ratio", "training"], ["y", "mask"], name="drop"),
        helper.make_node("ReduceSum", ["y"], ["loss"], name="total", keepdims=0),
    ]
    constants = {
        "w": np.ones((ROWS, WIDTH), np.float32),
        "ratio": np.float32(ratio),
        "training": np.array(True),
    }
    graph = helper.make_graph(
        nodes,
        "dropout",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [ROWS, WIDTH])],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, [ROWS, WIDTH]),
            helper.make_tensor_value_info("loss", TensorProto.FLOAT, []),
        ],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return differentiate(from_proto(model), "loss", ["w"])


def outputs(model: ir.Model, step: int, threads: int = 1) -> dict[str, Any]:
    session = make_session(to_proto(model).SerializeToString(), threads=threads)
    ones = np.ones((ROWS, WIDTH), np.float32)
    feeds = {"x": ones, "w": ones, "loss_scale": np.float32(1).reshape(())}
    return run(session, {**feeds, "step": np.array(step)})


def replaced(ratio: float, seed: int = 0) -> ir.Model:
    model = gradient_graph(ratio)
    CounterDropout(Report("none"), seed)(model)
    assert not {"Dropout", "DropoutGrad"} & {node.op_type for node in model.graph}
    return model


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.75])
def test_share_scale_and_gradient(ratio: float) -> None:
    found = outputs(replaced(ratio), 0)
    kept = found["y"] != 0
    deviation = np.sqrt(ratio * (1 - ratio) / kept.size)
    assert abs(kept.mean() - (1 - ratio)) < 4 * deviation
    np.testing.assert_allclose(found["y"][kept], 1 / (1 - ratio), rtol=1e-6)
    np.testing.assert_array_equal(found["w.gradient"], found["y"])


def test_nothing_and_everything_dropped() -> None:
    assert np.all(outputs(replaced(0.0), 0)["y"] == 1)
    assert np.all(outputs(replaced(1.0), 0)["y"] == 0)


def test_masks_depend_on_seed_and_step_alone() -> None:
    model = replaced(0.5)
    first = outputs(model, 7)["y"]
    np.testing.assert_array_equal(outputs(model, 7, threads=2)["y"], first)
    for other in (outputs(model, 8)["y"], outputs(replaced(0.5, seed=1), 7)["y"]):
        agree = np.mean((other != 0) == (first != 0))
        assert abs(agree - 0.5) < 4 * 0.5 / np.sqrt(first.size)


def test_a_ratio_that_is_computed_is_left_alone() -> None:
    model = gradient_graph(0.5)
    dropout = next(node for node in model.graph if node.op_type == "Dropout")
    given = ir.Value(name="given", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(()))
    model.graph.inputs.append(given)
    dropout.replace_input_with(1, given)
    report = Report("none")
    CounterDropout(report)(model)
    assert dropout.graph is model.graph
    assert "'drop' has a ratio that is computed" in report.warnings[0]

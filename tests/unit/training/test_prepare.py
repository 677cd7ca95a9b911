"""What becomes of a model before it is differentiated."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from onnxbf.errors import UnsupportedError
from onnxbf.protos import from_proto
from onnxbf.training.prepare import Prepared, prepare
from tests.gradient_check import with_loss

X = np.arange(6, dtype=np.float32).reshape(2, 3)


def types(prepared: Prepared) -> Counter[str]:
    return Counter(node.op_type for node in prepared.model.graph)


def dropout(mode: bool | None) -> ir.Model:
    inputs = ["x", "ratio"] if mode is None else ["x", "ratio", "mode"]
    node = helper.make_node("Dropout", inputs, ["y"], "drop")
    arrays = {"x": X, "ratio": np.array(0.5, np.float32), "mode": np.array(bool(mode))}
    return from_proto(with_loss([node], arrays))


def test_dropout_in_training_mode_is_trained() -> None:
    prepared = prepare(dropout(True))
    (node,) = (node for node in prepared.model.graph if node.op_type == "Dropout")
    assert len(node.outputs) == 2  # its gradient reads the mask
    assert not prepared.notes


@pytest.mark.parametrize("mode", [None, False])
def test_dropout_of_inference_is_off_and_said_to_be(mode: bool | None) -> None:
    prepared = prepare(dropout(mode))
    assert not types(prepared)["Dropout"]
    assert prepared.notes == (
        "Dropout is off in this model, and stays off. Export it in training mode to train with "
        "dropout.",
    )


def test_evaluation_drops_nothing() -> None:
    prepared = prepare(dropout(True), training=False)
    assert not types(prepared)["Dropout"] and not prepared.notes


def calls(opset: int = 18) -> ir.Model:
    """A function that holds its weights, called twice; its own domain has another version."""
    weights = helper.make_tensor("w", TensorProto.FLOAT, [3], [1.0, 2.0, 3.0])
    body = [
        helper.make_node("Constant", [], ["w"], value=weights),
        helper.make_node("Mul", ["a", "w"], ["b"], "scale"),
    ]
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("mine", 2)]
    function = helper.make_function("mine", "Scale", ["a"], ["b"], body, imports)
    nodes = [
        helper.make_node("Scale", ["x"], ["h"], "first", domain="mine"),
        helper.make_node("Scale", ["h"], ["y"], "second", domain="mine"),
    ]
    model = with_loss(nodes, {"x": X})
    model.opset_import.append(helper.make_opsetid("mine", 1))
    model.functions.append(function)
    return from_proto(model)


def test_a_function_called_twice_has_one_weight() -> None:
    prepared = prepare(calls())
    assert not prepared.model.functions
    weights = [v for v in prepared.model.graph.initializers.values() if v.name != "x"]
    assert len(weights) == 1
    assert len(weights[0].uses()) == 2


def test_a_function_of_another_opset_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="Function 'Scale' has opset 17 and the model 18"):
        prepare(calls(17))

"""What has no gradient is refused by node, operator and what would help; nothing aborts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from onnxbf.errors import UnsupportedError
from onnxbf.files import load_model
from onnxbf.protos import from_proto
from onnxbf.training.differentiable import check_differentiable
from onnxbf.training.graphs import build_graphs
from onnxbf.training.prepare import prepare
from tests.gradient_check import with_loss

MODELS = Path(__file__).parents[2] / "models"
X = {"x": np.ones((3, 4), np.float32)}


def test_an_operator_without_gradient_is_named() -> None:
    node = helper.make_node("Atan", ["x"], ["y"], "angle")
    model = prepare(from_proto(with_loss([node], X))).model
    with pytest.raises(UnsupportedError) as caught:
        check_differentiable(model, "loss", ["x"])
    assert str(caught.value) == (
        "Atan node 'angle' cannot be differentiated: there is no gradient of Atan. Replace it by "
        "operators that have one, or freeze the parameters before it (--freeze)."
    )


def test_what_the_loss_does_not_depend_on_may_be_anything() -> None:
    nodes = [
        helper.make_node("Identity", ["x"], ["y"], "same"),
        helper.make_node("Atan", ["x"], ["angle"], "angle"),
        helper.make_node("ArgMax", ["x"], ["most"], "most"),
    ]
    check_differentiable(from_proto(with_loss(nodes, X)), "loss", ["x"])


def test_what_does_not_depend_on_parameters_may_be_anything() -> None:
    nodes = [
        helper.make_node("Atan", ["z"], ["angle"], "angle"),
        helper.make_node("EyeLike", ["x"], ["eye"], "eye"),
        helper.make_node("Add", ["angle", "eye"], ["most"], "most"),
        helper.make_node("Mul", ["x", "most"], ["y"], "product"),
    ]
    model = with_loss(nodes, {**X, "z": X["x"]})
    check_differentiable(from_proto(model), "loss", ["x"])


def test_a_read_from_inside_a_branch_counts() -> None:
    def branch(name: str) -> onnx.GraphProto:
        made = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node("Relu", ["x"], [name], name)], name, [], [made])

    nodes = [
        helper.make_node("ReduceMax", ["z"], ["most"], "most", keepdims=0),
        helper.make_node("Cast", ["most"], ["flag"], "flag", to=TensorProto.BOOL),
        helper.make_node(
            "If", ["flag"], ["y"], "choice", then_branch=branch("a"), else_branch=branch("b")
        ),
    ]
    model = from_proto(with_loss(nodes, {**X, "z": X["x"]}))
    with pytest.raises(UnsupportedError, match="If node 'choice' cannot be differentiated"):
        check_differentiable(model, "loss", ["x"])


@pytest.mark.parametrize("name", ["jax_control_flow", "tensorflow_control_flow"])
def test_loops_of_exported_models_are_refused(name: str) -> None:
    with pytest.raises(UnsupportedError, match=r"Loop node '\S+' cannot be differentiated"):
        build_graphs(load_model(MODELS / f"{name}.onnx"), "mse", "sgd")


def test_a_recurrent_node_that_neither_unrolls_nor_trains_is_refused() -> None:
    model = load_model(MODELS / "torchscript_lstm.onnx")
    next(node for node in model.graph if node.op_type == "LSTM").attributes.add(
        ir.AttrFloat32("clip", 3.0)
    )
    with pytest.raises(UnsupportedError, match="cannot be differentiated whole: it clips"):
        build_graphs(model, "cross-entropy", "sgd")

"""The operators among others: shared memory, subgraphs, functions, shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from onnxbf.custom_ops.reference import Evaluator
from onnxbf.custom_ops.registry import DOMAIN
from onnxbf.errors import ModelError
from onnxbf.formats import parse_cast
from onnxbf.session import make_session, run
from tests.implementations import same_bits
from tests.small_models import OPSET, Shape, check_in_both, model, node, opset_imports, ours, value

E4M3, BF16, SR = parse_cast("e4m3"), parse_cast("bf16"), parse_cast("bf16:sr")
QD = "QuantizeDequantize"
BOTH = pytest.mark.parametrize("optimize", [True, False], ids=["optimized", "as written"])
X = np.linspace(-3, 3, 60_000, dtype=np.float32).reshape(100, 600)


def _graph(nodes: list[onnx.NodeProto], inputs: list[onnx.ValueInfoProto]) -> onnx.GraphProto:
    return helper.make_graph(nodes, "body", inputs, [value(nodes[-1].output[0])])


@BOTH
@pytest.mark.parametrize("condition", [True, False])
def test_in_branches(condition: bool, optimize: bool) -> None:
    """Branches round a value of the graph around them, which is read again after."""
    nodes = [
        node("Neg", ["x"], "r"),
        node(
            "If",
            ["c"],
            "z",
            then_branch=_graph([ours(QD, ["r"], "then", E4M3)], []),
            else_branch=_graph([ours(QD, ["r"], "else", SR)], []),
        ),
        node("Add", ["z", "r"], "y"),
    ]
    inputs = [value("x", shape=["a", "b"]), value("c", TensorProto.BOOL, [])]
    check_in_both(
        model(nodes, inputs, [value("y")]), {"x": X, "c": np.array(condition)}, optimize=optimize
    )


@BOTH
def test_in_a_loop_that_counts_the_steps(optimize: bool) -> None:
    body = helper.make_graph(
        [
            ours(QD, ["state", "i"], "rounded", SR, seed=7, node=3),
            node("Add", ["rounded", "state"], "next"),
            node("Identity", ["go"], "going"),
        ],
        "body",
        [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("state")],
        [value("going", TensorProto.BOOL, []), value("next")],
    )
    loop = node("Loop", ["count", "yes", "x"], "y", body=body)
    weights = {"count": np.array(4, np.int64), "yes": np.array(True)}
    proto = model([loop], [value("x", shape=["a", "b"])], [value("y")], weights=weights)
    check_in_both(proto, {"x": X[:3]}, optimize=optimize)


def _function(
    name: str, nodes: list[onnx.NodeProto], attributes: list[str] | None = None
) -> onnx.FunctionProto:
    imports = opset_imports({"": OPSET, DOMAIN: 1, "local": 1})
    return helper.make_function(
        "local", name, ["a"], ["b"], nodes, imports, attributes=attributes or []
    )


@BOTH
def test_in_functions(optimize: bool) -> None:
    """Within functions, ONNX Runtime learns a custom operator's type from a Cast alone."""
    inner = _function(
        "Inner", [ours(QD, ["a"], "r", SR, node=9), node("Cast", ["r"], "b", to=TensorProto.FLOAT)]
    )
    call_inner = helper.make_node("Inner", ["a"], ["i"], domain="local")
    outer = _function("Outer", [call_inner, node("Neg", ["i"], "n"), ours(QD, ["n"], "b", E4M3)])
    call = helper.make_node("Outer", ["x"], ["y"], domain="local")
    proto = model([call], [value("x", shape=["n"])], [value("y")], functions=[inner, outer])
    check_in_both(proto, {"x": X.ravel()}, optimize=optimize)


@BOTH
def test_a_function_may_pass_attributes_on(optimize: bool) -> None:
    """Quantize's type of output hangs on an attribute that only the call tells."""
    stored = ours("Quantize", ["a"], "q", E4M3, specials="nan")
    stored.attribute.remove(next(a for a in stored.attribute if a.name == "mantissa_bits"))
    stored.attribute.add(
        name="mantissa_bits", type=onnx.AttributeProto.INT, ref_attr_name="mantissa_bits"
    )
    function = _function("Store", [stored, ours("Dequantize", ["q"], "b")], ["mantissa_bits"])
    call = helper.make_node("Store", ["x"], ["y"], domain="local", mantissa_bits=3)
    proto = model([call], [value("x", shape=["n"])], [value("y")], functions=[function])
    check_in_both(proto, {"x": X.ravel()}, optimize=optimize)


@pytest.mark.parametrize("shape", [["a", 3], [2, 3], [2, "b", 4, "d", 1]], ids=str)
def test_shapes_are_inferred(shape: Shape) -> None:
    nodes = [
        node("Neg", ["x"], "r"),
        ours(QD, ["r"], "rounded", BF16),
        ours("Quantize", ["rounded"], "stored", BF16),
        ours("Dequantize", ["stored"], "back"),
    ]
    names = ("rounded", "stored", "back")
    kinds = dict.fromkeys(names, TensorProto.FLOAT) | {"stored": TensorProto.BFLOAT16}
    proto = model(nodes, [value("x", shape=shape)], [value(n, kinds[n]) for n in names])
    outputs = make_session(proto.SerializeToString()).get_outputs()
    assert [output.shape for output in outputs] == [shape] * 3
    assert [output.type for output in outputs] == [
        "tensor(float)",
        "tensor(bfloat16)",
        "tensor(float)",
    ]


def test_a_stated_shape_is_believed_where_none_can_be_inferred() -> None:
    proto = model([ours(QD, ["x"], "y", BF16)], [value("x")], [value("y", shape=["a", 2])])
    session = make_session(proto.SerializeToString())
    assert session.get_outputs()[0].shape == ["a", 2]
    assert run(session, {"x": np.ones((3, 2), np.float32)})["y"].shape == (3, 2)


@pytest.mark.skipif(
    onnxruntime.__version__.startswith("1.19"), reason="onnxruntime 1.19 crashes on such a node"
)
@pytest.mark.parametrize("inputs", [["x", ""], ["x", "", "offset"], ["x", "", ""]], ids=str)
def test_an_optional_input_may_be_left_empty(inputs: list[str]) -> None:
    proto = model(
        [ours(QD, inputs, "y", SR)],
        [value("x", shape=["n"]), value("offset", TensorProto.INT64, [])],
        [value("y")],
    )
    check_in_both(proto, {"x": X.ravel(), "offset": np.array(100)})


def test_beside_operators_of_training() -> None:
    backward = helper.make_node("ReluGrad", ["x", "q"], ["g"], domain="com.microsoft")
    nodes = [ours(QD, ["x"], "q", BF16), backward, ours(QD, ["g"], "y", E4M3)]
    proto = model(nodes, [value("x", shape=["n"])], [value("y")], opsets={"com.microsoft": 1})
    x = X.ravel()
    try:
        session = make_session(proto.SerializeToString())
    except ModelError as error:
        pytest.skip(f"a runtime without operators of training: {error}")
    only = model([ours(QD, ["x"], "y", E4M3)], [value("x")], [value("y")])
    wanted = Evaluator(only).run(None, {"x": np.where(x > 0, x, np.float32(0))})[0]
    got: dict[str, Any] = run(session, {"x": x})
    assert same_bits(got["y"], wanted)

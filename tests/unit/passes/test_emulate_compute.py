"""Products that sum as a profile says: which nodes, with the same bits as nodes around them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

from onnxbf.arithmetic import parse_arithmetic
from onnxbf.custom_ops.reference import Evaluator
from onnxbf.errors import UnsupportedError
from onnxbf.formats import parse_cast
from onnxbf.graph import PARAMETER, mark_kind
from onnxbf.passes.emulate_compute import EmulateCompute
from onnxbf.passes.pipeline import convert
from onnxbf.protos import to_proto
from onnxbf.recipe import RECIPES, Recipe, Rule, load_recipe
from onnxbf.report import Report
from onnxbf.session import make_session, run
from tests.implementations import Floats, same_bits
from tests.small_models import attributes_of, check_in_both, floats, model, node, ours, value

BF16 = parse_cast("bf16")


def _recipe(arithmetic: str, **casts: str) -> Recipe:
    effects = {role: parse_cast(cast) for role, cast in casts.items()}
    rule = Rule(ops=("gemm",), arithmetic=parse_arithmetic(arithmetic), **effects)
    return Recipe("test", "", (rule,))


def _perceptron() -> onnx.ModelProto:
    return model(
        [
            node("MatMul", ["x", "w"], "hidden"),
            node("Relu", ["hidden"], "positive"),
            node("Gemm", ["positive", "v", "c"], "y", transB=1, alpha=0.5),
        ],
        [value("x", shape=[3, 9])],
        [value("y", shape=[3, 4])],
        weights={"w": floats(9, 6), "v": floats(4, 6), "c": floats(4)},
    )


def test_products_take_in_the_roundings_around_them() -> None:
    casts = {"inputs": "bf16", "weights": "e4m3fn:rtz", "outputs": "fp16:rna"}
    made, report = convert(_perceptron(), _recipe("chunked", **casts))
    assert [each.op_type for each in made.graph.node] == ["MatMul", "Relu", "Gemm"]
    first, _, second = (attributes_of(each) for each in made.graph.node)
    text = "chunked{size=64,inner=fp32,outer=bf16}"
    rounded = {"cast_b": "e4m3fn:rtz", "cast_y": "fp16:rna"}
    assert first == {"arithmetic": text, "cast_a": "bf16:rne", **rounded}
    assert second["alpha"] == 0.5 and second["transB"] == 1
    assert [change.quantize for change in report.changes] != []
    assert {change.quantize for change in report.changes} == {"make_hidden", "make_y"}
    assert "Summed as chunked{size=64,inner=fp32,outer=bf16}: MatMul x1, Gemm x1." in str(report)


@pytest.mark.parametrize(
    "recipe", ["avx512-bf16", "amx-bf16", "arm-bf16", "bf16-accumulate", "fp8-chunked", "hopper"]
)
def test_the_same_bits_as_with_roundings_around(recipe: str) -> None:
    """Written out by hand: each rounding a node, each product one that rounds nothing itself."""
    (rule, *_), x = RECIPES[recipe].rules, floats(3, 9)
    assert rule.inputs and rule.weights and rule.outputs and rule.arithmetic
    text = str(rule.arithmetic)
    around = model(
        [
            ours("QuantizeDequantize", ["x"], "qx", rule.inputs),
            ours("QuantizeDequantize", ["w"], "qw", rule.weights),
            ours("MatMul", ["qx", "qw"], "sums", arithmetic=text),
            ours("QuantizeDequantize", ["sums"], "hidden", rule.outputs),
            node("Relu", ["hidden"], "positive"),
            ours("QuantizeDequantize", ["positive"], "qp", rule.inputs),
            ours("QuantizeDequantize", ["v"], "qv", rule.weights),
            ours("Gemm", ["qp", "qv", "c"], "more", arithmetic=text, transB=1, alpha=0.5),
            ours("QuantizeDequantize", ["more"], "y", rule.outputs),
        ],
        [value("x", shape=[3, 9])],
        [value("y", shape=[3, 4])],
        weights={"w": floats(9, 6), "v": floats(4, 6), "c": floats(4)},
    )
    made, _ = convert(_perceptron(), recipe)
    wanted = Evaluator(around).run(None, {"x": x})[0]
    assert same_bits(run(make_session(made.SerializeToString()), {"x": x})["y"], wanted)


def test_a_rounding_that_others_read_stays() -> None:
    nodes = [node("MatMul", ["x", "w"], "y"), node("Sigmoid", ["x"], "z")]
    proto = model(
        nodes,
        [value("x", shape=[3, 3])],
        [value("y", shape=[3, 3]), value("z", shape=[3, 3])],
        weights={"w": floats(3, 3)},
    )
    recipe = _recipe("kahan", inputs="bf16", weights="bf16")
    recipe = Recipe("test", "", (*recipe.rules, Rule(ops=("Sigmoid",), inputs=BF16)))
    made, _ = convert(proto, recipe)
    assert [each.op_type for each in made.graph.node].count("QuantizeDequantize") == 1
    product = next(each for each in made.graph.node if each.op_type == "MatMul")
    assert attributes_of(product) == {"arithmetic": "kahan", "cast_b": "bf16:rne"}


def test_stochastic_roundings_stay_nodes() -> None:
    made, _ = convert(_perceptron(), _recipe("fp32", inputs="bf16:sr"))
    assert all(each.domain == "" for each in made.graph.node if each.op_type == "MatMul")
    made, _ = convert(_perceptron(), _recipe("pairwise", inputs="bf16:sr", weights="bf16"))
    types = [each.op_type for each in made.graph.node]
    assert types.count("QuantizeDequantize") == 2


def test_stochastic_sums_have_a_stream_each() -> None:
    recipe = _recipe("sequential{rounding=sr}")
    made, _ = convert(_perceptron(), recipe, seed=5)
    products = [attributes_of(each) for each in made.graph.node if each.domain]
    assert [each["seed"] for each in products] == [5, 5]
    assert products[0]["node"] != products[1]["node"]
    x = floats(3, 9)
    wanted = Evaluator(made).run(None, {"x": x})[0]
    assert same_bits(run(make_session(made.SerializeToString()), {"x": x})["y"], wanted)
    other, _ = convert(_perceptron(), recipe, seed=6)
    assert not same_bits(Evaluator(other).run(None, {"x": x})[0], wanted)
    plain, _ = convert(_perceptron(), _recipe("sequential"), seed=5)
    assert all("seed" not in attributes_of(each) for each in plain.graph.node)


def test_a_gemm_without_a_term_can_have_a_step() -> None:
    """In a training graph; ONNX Runtime 1.19 takes no step behind an absent C."""
    proto = model(
        [node("Gemm", ["x", "w"], "y", transB=1, alpha=0.5)],
        [value("x", shape=[3, 9]), value("w", shape=[4, 9])],
        [value("y", shape=[3, 4])],
    )
    trained = ir.from_proto(proto)
    mark_kind(trained.graph.inputs[1], PARAMETER)
    made, _ = convert(trained, _recipe("sequential{rounding=sr}"))
    (product,) = made.graph
    assert (product.op_type, len(product.inputs)) == ("FusedMatMul", 3)
    feeds = {"x": floats(3, 9), "w": floats(4, 9), "step": np.array(3)}
    check_in_both(to_proto(made), feeds)


AROUND = {"pads": [1, 0, 1, 1], "strides": [2, 1], "group": 2}
CONV_SHAPES = {"x": [2, 4, 5, 4], "w": [6, 2, 3, 2], "b": [6], "dy": [2, 6, 3, 4]}


def _conv_feeds() -> dict[str, Floats]:
    return {name: floats(*shape) for name, shape in CONV_SHAPES.items()}


def _conv(nodes: list[onnx.NodeProto], **outputs: str) -> onnx.ModelProto:
    """Outputs by name, each of the shape of an input."""
    return model(
        nodes,
        [value(name, shape=shape) for name, shape in CONV_SHAPES.items()],
        [value(name, shape=CONV_SHAPES[like]) for name, like in outputs.items()],
        opsets={"com.microsoft": 1},
    )


@pytest.mark.parametrize("recipe", ["avx512-bf16", "fp8-chunked"])
def test_convolutions_forward_and_backward_have_the_bits_of_roundings_around_them(
    recipe: str,
) -> None:
    rule = RECIPES[recipe].rules[0]
    text = {"arithmetic": str(rule.arithmetic), **AROUND}
    to_weights = helper.make_node(
        "ConvWeightGrad", ["qdy", "qx", "w"], ["dw", "db"], domain="ai.onnxbf", **text
    )
    around = _conv(
        [
            ours("QuantizeDequantize", ["x"], "qx", rule.inputs),
            ours("QuantizeDequantize", ["w"], "qw", rule.weights),
            ours("QuantizeDequantize", ["dy"], "qdy", rule.inputs),
            ours("Conv", ["qx", "qw", "b"], "y_sums", **text),
            ours("QuantizeDequantize", ["y_sums"], "y", rule.outputs),
            ours("ConvInputGrad", ["qdy", "qw", "x"], "dx_sums", **text),
            ours("QuantizeDequantize", ["dx_sums"], "dx", rule.outputs),
            to_weights,
        ],
        y="dy",
        dx="x",
        dw="w",
        db="b",
    )
    given = [
        node("Conv", ["x", "w", "b"], "y", **AROUND),
        helper.make_node(
            "ConvGrad",
            ["dy", "x", "w"],
            ["dx", "dw", "db"],
            name="conv_Grad/ConvGrad_0",
            domain="com.microsoft",
            **AROUND,
        ),
        node("Neg", ["dx"], "minus_dx"),
    ]
    trained = ir.from_proto(_conv(given, y="dy", minus_dx="x", dw="w", db="b"))
    mark_kind(next(v for v in trained.graph.inputs if v.name == "w"), PARAMETER)
    effects = {"inputs", "weights", "outputs", "arithmetic"}
    only = Rule(ops=("gemm",), **{name: getattr(rule, name) for name in effects})
    made, report = convert(trained, Recipe("test", "", (only,)))
    types = [each.op_type for each in made.graph]
    assert sorted(types) == ["Conv", "ConvInputGrad", "ConvWeightGrad", "Neg"]
    assert len(report.emulated) == 3
    feeds = _conv_feeds()
    found = check_in_both(to_proto(made), feeds)
    wanted = dict(zip(["y", "dx", "dw", "db"], Evaluator(around).run(None, feeds)))
    assert same_bits(found["y"], wanted["y"])
    assert same_bits(found["minus_dx"], -wanted["dx"])
    assert same_bits(found["db"], wanted["db"])
    assert same_bits(found["dw"], wanted["dw"])


@pytest.mark.parametrize("op_type", ["Conv", "ConvTranspose"])
def test_a_convolution_without_a_bias_can_have_a_step(op_type: str) -> None:
    inputs, like = (["x", "w"], "dy") if op_type == "Conv" else (["dy", "w"], "x")
    trained = ir.from_proto(_conv([node(op_type, inputs, "y", **AROUND)], y=like))
    mark_kind(next(v for v in trained.graph.inputs if v.name == "w"), PARAMETER)
    made, _ = convert(trained, _recipe("sequential{rounding=sr}"))
    assert [each.op_type for each in made.graph] == ["Constant", op_type]
    feeds: dict[str, Any] = {**_conv_feeds(), "step": np.array(3)}
    found = check_in_both(to_proto(made), feeds)["y"]
    assert not same_bits(found, check_in_both(to_proto(made), {**feeds, "step": np.array(4)})["y"])


@pytest.mark.parametrize("recipe", ["avx512-bf16", "fp8-chunked"])
def test_transposed_convolutions_have_the_bits_of_roundings_around_them(recipe: str) -> None:
    rule = RECIPES[recipe].rules[0]
    around = _conv(
        [
            ours("QuantizeDequantize", ["dy"], "qx", rule.inputs),
            ours("QuantizeDequantize", ["w"], "qw", rule.weights),
            ours("ConvTranspose", ["qx", "qw"], "sums", arithmetic=str(rule.arithmetic), **AROUND),
            ours("QuantizeDequantize", ["sums"], "y", rule.outputs),
        ],
        y="x",
    )
    given = ir.from_proto(_conv([node("ConvTranspose", ["dy", "w"], "y", **AROUND)], y="x"))
    mark_kind(next(v for v in given.graph.inputs if v.name == "w"), PARAMETER)
    made, _ = convert(given, RECIPES[recipe])
    assert [(each.domain, each.op_type) for each in made.graph] == [("ai.onnxbf", "ConvTranspose")]
    feeds = _conv_feeds()
    wanted = Evaluator(around).run(None, feeds)[0]
    assert same_bits(check_in_both(to_proto(made), feeds)["y"], wanted)


def test_gradients_of_a_convolution_that_are_one_node_are_left_alone() -> None:
    """Outside of a gradient graph nothing splits them."""
    grad = helper.make_node(
        "ConvGrad", ["dy", "x", "w"], ["dx", "dw"], name="grad", domain="com.microsoft", **AROUND
    )
    both = ir.from_proto(_conv([grad], dx="x", dw="w"))
    pass_ = EmulateCompute(Report("test"), _recipe("exact"))
    pass_(both)
    assert [each.op_type for each in both.graph] == ["ConvGrad"]
    assert any("ConvGrad x1 sums as the runtime does" in note for note in pass_.report.notes)


def test_what_has_no_operator_is_left_and_told() -> None:
    weights = {"k": floats(5, 3), "i": np.ones((2, 2), np.int64)}
    proto = model(
        [node("Einsum", ["x", "k"], "y", equation="ij,jk->ik"), node("MatMul", ["i", "i"], "z")],
        [value("x", shape=[2, 5])],
        [value("y", shape=[2, 3]), value("z", onnx.TensorProto.INT64, [2, 2])],
        weights=weights,
    )
    made, report = convert(proto, _recipe("exact"))
    assert all(each.domain == "" for each in made.graph.node)
    told = "Einsum x1 sums as the runtime does, not as exact"
    assert any(told in note for note in report.notes)
    assert [skip.reason for skip in report.skipped] == ["int64 tensors"]


def test_batches_turned_by_onnx_runtime_are_left_alone() -> None:
    turned = node("FusedMatMul", ["x", "x"], "y", transBatchA=1)
    turned.domain = "com.microsoft"
    opsets = {"com.microsoft": 1}
    proto = model([turned], [value("x", shape=[2, 2, 2])], [value("y")], opsets=opsets)
    made, report = convert(ir.from_proto(proto), _recipe("exact"))
    assert [each.domain for each in made.graph] == ["com.microsoft"]
    assert report.emulated == []


def test_portable_models_have_no_arithmetic() -> None:
    with pytest.raises(UnsupportedError, match="arithmetic of recipe 'avx512-bf16'"):
        convert(_perceptron(), "avx512-bf16", portable=True)


def test_an_arithmetic_for_an_operator_that_has_none_is_refused(tmp_path: Any) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[[rules]]\nops = ["Einsum"]\narithmetic = "avx512_bf16"\n')
    with pytest.raises(Exception, match="Einsum cannot sum as avx512_bf16: only MatMul, Fus"):
        load_recipe(path)
    path.write_text('[[rules]]\nops = ["gemm"]\narithmetic = "avx512_bf61"\n')
    with pytest.raises(Exception, match="did you mean 'avx512_bf16'"):
        load_recipe(path)


def test_what_has_no_sum_is_not_reported() -> None:
    """Under a rule for everything: a Sigmoid sums nothing; an average pool does."""
    proto = model(
        [
            node("Sigmoid", ["x"], "s"),
            node("GlobalAveragePool", ["s"], "y"),
        ],
        [value("x", shape=[1, 2, 3, 3])],
        [value("y", shape=[1, 2, 1, 1])],
    )
    rule = Rule(ops=("*",), arithmetic=parse_arithmetic("exact"))
    _, report = convert(proto, Recipe("test", "", (rule,)))
    (note,) = [note for note in report.notes if "sums as the runtime" in note]
    assert note.startswith("GlobalAveragePool x1 ")

"""Sums, norms and softmax under a profile: which nodes, with the same bits as nodes around them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from onnxbf.arithmetic import parse_arithmetic
from onnxbf.formats import parse_cast
from onnxbf.passes.pipeline import convert
from onnxbf.recipe import Recipe, Rule
from onnxbf.session import make_session, run
from tests.small_models import attributes_of, check_in_both, floats, model, node, value


def _sums_recipe(arithmetic: str, **casts: str) -> Recipe:
    effects = {role: parse_cast(cast) for role, cast in casts.items()}
    ops = ("reduction", "normalization")
    return Recipe("test", "", (Rule(ops=ops, arithmetic=parse_arithmetic(arithmetic), **effects),))


def _attention(opset: int = 21, **softmax: int) -> onnx.ModelProto:
    """Normalization, softmax, a mean and a sum, the first of them in the form of its opset."""
    old = opset < 18
    reduced = ["weights"] if old else ["weights", "axes"]
    nodes = [
        node("LayerNormalization", ["x", "scale"], "normal", epsilon=0.5),
        node("Softmax", ["normal"], "weights", **softmax),
        node("ReduceMean", reduced, "mean", keepdims=0, **({"axes": [1]} if old else {})),
        node("ReduceSum", ["mean"], "y"),
    ]
    weights = {"scale": floats(9) + 2, "axes": np.array([1])}
    return model(
        nodes,
        [value("x", shape=[2, 3, 9])],
        [value("y", shape=[1, 1])],
        weights=weights,
        opsets={"": opset},
    )


def test_sums_take_in_the_roundings_around_them() -> None:
    recipe = _sums_recipe("avx512_bf16", inputs="bf16{subnormals=flush}", outputs="fp16")
    made, report = convert(_attention(), recipe)
    types = ["LayerNormalization", "Softmax", "ReduceMean", "ReduceSum"]
    assert [each.op_type for each in made.graph.node] == types
    assert all(each.domain == "ai.onnxbf" for each in made.graph.node)
    found = [attributes_of(each) for each in made.graph.node]
    cast = {"cast_a": "bf16:rne{subnormals=flush}"}  # before the mean, or the largest, is taken
    assert found[0] == {"arithmetic": "avx512_bf16", "epsilon": 0.5, "cast_y": "fp16:rne", **cast}
    assert found[1] == {"arithmetic": "avx512_bf16", "cast_y": "fp16:rne", **cast}
    assert found[3] == {"arithmetic": "avx512_bf16", "cast_y": "fp16:rne"}  # what it sums anyway
    assert "LayerNormalization x1" in str(report) and "ReduceSum x1" in str(report)
    check_in_both(made, {"x": floats(2, 3, 9)})


@pytest.mark.parametrize("opset", [17, 21])
@pytest.mark.parametrize("arithmetic", ["sequential{rounding=sr}", "chunked{size=4}"])
def test_the_sums_of_every_opset(opset: int, arithmetic: str) -> None:
    """Axes that were an attribute become an input, and those left out before a step are stated."""
    made, _ = convert(_attention(opset, axis=1), _sums_recipe(arithmetic, inputs="bf16"))
    ours_ = [each for each in made.graph.node if each.op_type != "Constant"]
    assert all(each.domain == "ai.onnxbf" for each in ours_)
    assert len(ours_[2].input) == 2 and len(ours_[3].input) == (2 if "sr" in arithmetic else 1)
    check_in_both(made, {"x": floats(2, 3, 9)})


def test_sums_without_rounding_are_those_of_the_runtime() -> None:
    x = {"x": floats(2, 3, 9)}
    for opset in (17, 21):
        proto = _attention(opset)
        made, _ = convert(proto, _sums_recipe("exact"))
        got = run(make_session(made.SerializeToString()), x)["y"]
        wanted = run(make_session(proto.SerializeToString()), x)["y"]
        np.testing.assert_allclose(got, wanted, rtol=1e-6)


@pytest.mark.parametrize(("axis", "replaced"), [(1, False), (2, True), (-1, True), (None, False)])
def test_old_softmax_is_replaced_along_the_last_axis(axis: int | None, replaced: bool) -> None:
    chosen = {} if axis is None else {"axis": axis}
    proto = model(
        [node("Softmax", ["x"], "y", **chosen)],
        [value("x", shape=[2, 3, 4])],
        [value("y", shape=[2, 3, 4])],
        opsets={"": 11},
        ir_version=6,
    )
    made, report = convert(proto, _sums_recipe("exact"))
    (only,) = made.graph.node
    assert (only.domain == "ai.onnxbf") is replaced
    assert any("Softmax x1 sums as the runtime does" in note for note in report.notes) != replaced
    if replaced:
        assert attributes_of(only) == {"axis": -1, "arithmetic": "exact"}


def test_a_norm_that_others_read_the_statistics_of() -> None:
    made = helper.make_node(
        "LayerNormalization", ["x", "scale"], ["y", "mean", "inverse"], name="norm"
    )
    outputs = {"y": [2, 3, 9], "inverse": [2, 3, 1]}
    proto = model(
        [made],
        [value("x", shape=[2, 3, 9])],
        [value(name, shape=shape) for name, shape in outputs.items()],
        weights={"scale": floats(9)},
    )
    converted, _ = convert(proto, _sums_recipe("pairwise", outputs="bf16"))
    assert len(converted.graph.node[0].output) == 3
    check_in_both(converted, {"x": floats(2, 3, 9)})


@pytest.mark.parametrize("stash_type", [1, 10])
def test_norms_and_gradients_in_another_precision_stay(stash_type: int) -> None:
    names = ["dy", "x", "scale", "mean", "inverse"]
    made = helper.make_node(
        "LayerNormalizationGrad",
        names,
        ["dx", "", "dbias"],
        name="gradient",
        domain="com.microsoft",
        stash_type=stash_type,
        epsilon=1e-5,
    )
    shapes = {"dy": [3, 9], "x": [3, 9], "scale": [9], "mean": [3], "inverse": [3]}
    proto = model(
        [made],
        [value(name, shape=shape) for name, shape in shapes.items()],
        [value("dx", shape=[3, 9]), value("dbias", shape=[9])],
        opsets={"com.microsoft": 1},
    )
    converted, report = convert(proto, _sums_recipe("chunked{size=4}", inputs="bf16"))
    types = [each.op_type for each in converted.graph.node]
    if stash_type == 1:
        assert types == ["LayerNormGrad"]
        assert attributes_of(converted.graph.node[0])["cast_b"] == "bf16:rne"
        check_in_both(converted, {name: floats(*shape) for name, shape in shapes.items()})
    else:
        assert "LayerNormalizationGrad" in types
        assert any("LayerNormalizationGrad x1 sums as the runtime" in n for n in report.notes)

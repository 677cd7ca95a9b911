"""Reductions, Softmax and LayerNormalization in ONNX Runtime, bit for bit as their reference."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from onnxbf.arithmetic import PROFILES
from onnxbf.custom_ops.reference import Evaluator
from onnxbf.errors import ModelError
from onnxbf.formats import parse_cast
from onnxbf.rounding import round_array
from onnxbf.session import make_session, run
from tests import operands
from tests.implementations import Floats, same_bits
from tests.small_models import check_in_both, model, node, ours, value

TEXTS = [*PROFILES, "sequential{format=fp16}", "chunked{size=2}", "chunked{size=3,inner=bf16:sr}"]
KEY = {"seed": 2**63 - 1, "node": 2**32 - 1}
AXES = [
    list(axes) for count in range(5) for axes in itertools.combinations(range(4), count)
]  # of four dimensions: every pattern of kept and summed ones
SHAPES: list[tuple[int, ...]] = [(2, 3, 4, 5), (3, 1, 2, 1), (1, 1, 1, 1), (2, 0, 3, 2)]


def _reduction(
    op_type: str, shape: tuple[int, ...], axes: list[int] | None, **attributes: Any
) -> onnx.ModelProto:
    attributes = {"arithmetic": "sequential{format=bf16}", **attributes}
    names = ["x"] if axes is None else ["x", "axes"]
    weights = {} if axes is None else {"axes": np.array(axes, np.int64)}
    nodes = [ours(op_type, names, "y", **attributes)]
    return model(nodes, [value("x", shape=[None] * len(shape))], [value("y")], weights=weights)


def _floats(shape: tuple[int, ...], make: Any = operands.ordinary) -> Floats:
    return make(np.random.default_rng(len(shape)), shape)


@pytest.mark.parametrize("text", TEXTS)
def test_every_profile_reduces(text: str) -> None:
    for make in operands.ALL:
        x = _floats((9, 5), make)
        for axes in ([0], [1]):
            check_in_both(_reduction("ReduceMean", x.shape, axes, arithmetic=text, **KEY), {"x": x})


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("axes", [None, *AXES], ids=str)
def test_every_pattern_of_axes(shape: tuple[int, ...], axes: list[int] | None) -> None:
    """Against ONNX's own evaluator, too, on integers that are summed without error."""
    x = np.rint(_floats(shape) * 3)
    for keepdims, noop in ((0, 0), (1, 1)):
        attributes = {"keepdims": keepdims, "noop_with_empty_axes": noop}
        proto = _reduction("ReduceSum", shape, axes, **attributes)
        got = check_in_both(proto, {"x": x})["y"]
        if not axes and noop:
            assert same_bits(got, x)
            continue
        onnxs = model(
            [node("ReduceSum", list(proto.graph.node[0].input), "y", **attributes)],
            list(proto.graph.input),
            [value("y")],
            weights={"axes": np.array(axes, np.int64)} if axes is not None else {},
        )
        wanted = ReferenceEvaluator(onnxs).run(None, {"x": x})[0]
        assert got.shape == wanted.shape
        np.testing.assert_array_equal(got, wanted)


def test_axes_from_the_end_and_means_of_nothing() -> None:
    x = _floats((2, 3, 4))
    got = check_in_both(_reduction("ReduceMean", x.shape, [-1, 0], arithmetic="fp32"), {"x": x})
    np.testing.assert_allclose(got["y"], x.mean((0, 2), keepdims=True), rtol=1e-6)
    empty = np.ones((2, 0), np.float32)
    got = check_in_both(_reduction("ReduceMean", (2, 0), [1]), {"x": empty})
    assert got["y"].view(np.uint32).tolist() == [[0x7FC00000]] * 2
    got = check_in_both(_reduction("ReduceSum", (2, 0), [1]), {"x": empty})
    assert got["y"].view(np.uint32).tolist() == [[0]] * 2


def test_casts_of_operand_and_result() -> None:
    x = _floats((5, 6))
    casts = {"cast_a": "e4m3fn:rtz", "cast_y": "bf16:rup"}
    for op_type in ("ReduceSum", "ReduceMean"):
        check_in_both(_reduction(op_type, x.shape, [1], **casts), {"x": x})
    nothing = _reduction("ReduceSum", x.shape, [], noop_with_empty_axes=1, **casts)
    check_in_both(nothing, {"x": x})


def _softmax(shape: tuple[int, ...], axis: int, **attributes: Any) -> onnx.ModelProto:
    attributes = {"arithmetic": "sequential{format=bf16}", "axis": axis, **attributes}
    nodes = [ours("Softmax", ["x"], "y", **attributes)]
    return model(nodes, [value("x", shape=[None] * len(shape))], [value("y")])


@pytest.mark.parametrize("text", TEXTS)
def test_every_profile_in_softmax(text: str) -> None:
    for make in operands.ALL:
        x = _floats((4, 5), make)
        for axis in (0, 1):
            check_in_both(_softmax(x.shape, axis, arithmetic=text, **KEY), {"x": x})


@pytest.mark.parametrize("axis", [-3, -2, -1, 0, 1, 2])
def test_softmax_along_each_axis(axis: int) -> None:
    x = _floats((3, 4, 5)) * 30
    got = check_in_both(_softmax(x.shape, axis, cast_a="bf16", cast_y="fp16:rna"), {"x": x})["y"]
    rounded = x.astype(np.float64)
    powers = np.exp(rounded - rounded.max(axis, keepdims=True))
    np.testing.assert_allclose(got, powers / powers.sum(axis, keepdims=True), atol=0.1)
    for shape in ((2, 0), (0, 2), (3, 1500), (1500, 3), (2, 5, 1100)):
        wide = _floats(shape)
        exact = _softmax(shape, 1, arithmetic="fp32")
        got = run(make_session(exact.SerializeToString()), {"x": wide})["y"]
        powers = np.exp(wide.astype(np.float64))
        np.testing.assert_allclose(got, powers / powers.sum(1, keepdims=True), rtol=1e-5)


def test_softmax_of_special_numbers() -> None:
    inf, nan = np.inf, np.nan
    rows = [
        [1, -inf, 2], [-inf, -inf, -inf], [inf, 1, 2], [inf, inf, 0], [nan, 1, 2], [nan, nan, nan],
        [-0.0, 0.0, -0.0], [1e-45, -1e-45, 0], [3e38, -3e38, 0], [0, -87.4, -103.9], [1, 0, -104],
    ]  # fmt: skip
    x = np.array(rows, np.float32)
    got = check_in_both(_softmax(x.shape, 1, arithmetic="exact"), {"x": x})["y"]
    broken = np.isnan(got).all(1)
    assert broken.tolist() == [False, True, True, True, True, True, *[False] * 5]
    assert {*got[broken].view(np.uint32).ravel().tolist()} == {0x7FC00000}


def _norm(outputs: int = 3, bias: bool = True, **attributes: Any) -> onnx.ModelProto:
    attributes = {"arithmetic": "sequential{format=bf16}", **attributes}
    names = ["x", "scale", *(["bias"] if bias else [])]
    made = ours("LayerNormalization", names, "y", **attributes)
    made.output.extend(["mean", "inverse"][: outputs - 1])
    results = [value(name) for name in made.output]
    return model([made], [value(name) for name in names], results)


def _norm_feeds(shape: tuple[int, ...], width: tuple[int, ...], make: Any) -> dict[str, Floats]:
    feeds = {"x": _floats(shape, make)}
    return feeds | {"scale": _floats(width) + 2, "bias": _floats(width)}


@pytest.mark.parametrize("text", TEXTS)
def test_every_profile_in_layer_normalization(text: str) -> None:
    for make in operands.ALL:
        check_in_both(_norm(arithmetic=text, **KEY), _norm_feeds((3, 5), (5,), make))


@pytest.mark.parametrize("axis", [-3, -1, 0, 1, 2])
def test_layer_normalization_along_each_axis(axis: int) -> None:
    """Against ONNX Runtime's, too."""
    shape = (3, 4, 5)
    feeds = _norm_feeds(shape, shape[axis:], operands.ordinary)
    check_in_both(_norm(axis=axis, cast_a="bf16", cast_y="fp16"), feeds)
    got = check_in_both(_norm(axis=axis, arithmetic="fp32", epsilon=0.5), feeds)
    made = helper.make_node(
        "LayerNormalization", [*feeds], ["y", "mean", "inverse"], axis=axis, epsilon=0.5
    )
    inputs = [value(name, shape=array.shape) for name, array in feeds.items()]
    theirs = model([made], inputs, [value(name) for name in made.output])
    for name, wanted in run(make_session(theirs.SerializeToString()), feeds).items():
        assert got[name].shape == wanted.shape
        np.testing.assert_allclose(got[name], wanted, rtol=1e-4, atol=1e-6)


def test_what_layer_normalization_may_leave_out() -> None:
    feeds = _norm_feeds((4, 6), (6,), operands.ordinary)
    check_in_both(_norm(1), feeds)
    check_in_both(_norm(2), feeds)
    bias = feeds.pop("bias")
    check_in_both(_norm(bias=False), feeds)
    check_in_both(_norm(), {**feeds, "bias": bias[:0]})
    check_in_both(_norm(), {**feeds, "x": np.zeros((0, 6), np.float32), "bias": bias})


@pytest.mark.parametrize("text", ["bf16:rne{subnormals=flush}", "e4m3fn:rtz"])
def test_float_layer_normalization_rounds_its_result_alone(text: str) -> None:
    feeds = _norm_feeds((40, 70), (70,), operands.ordinary)
    feeds["x"][3] *= np.float32(1e-42)
    plain, rounded = (
        run(make_session(_norm(arithmetic="", **cast).SerializeToString()), feeds)
        for cast in ({}, {"cast_y": text})
    )
    wanted = {**plain, "y": round_array(plain["y"], parse_cast(text))}
    assert all(same_bits(rounded[name], wanted[name]) for name in wanted)


def test_steps_draw_other_bits() -> None:
    x = _floats((3, 40))
    nodes = [ours("Softmax", ["x", "step"], "y", arithmetic="sequential{rounding=sr}", **KEY)]
    proto = model(nodes, [value("x"), value("step", TensorProto.INT64, [])], [value("y")])
    first, second = (check_in_both(proto, {"x": x, "step": np.array(step)})["y"] for step in (1, 2))
    assert not same_bits(first, second)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_change_no_bit(threads: int) -> None:
    feeds = _norm_feeds((300, 130), (130,), operands.spread)
    for proto in (_norm(), _reduction("ReduceSum", (300, 130), [0])):
        given = {each.name: feeds[each.name] for each in proto.graph.input}
        alone = run(make_session(proto.SerializeToString(), threads=1), given)
        several = run(make_session(proto.SerializeToString(), threads=threads), given)
        assert all(same_bits(several[name], array) for name, array in alone.items())


@pytest.mark.parametrize(
    ("proto", "feeds", "said"),
    [
        (_reduction("ReduceSum", (2, 3), [2]), {}, "axis 2 is no dimension of x"),
        (_softmax((2, 3), 2), {}, "axis 2 is no dimension of x"),
        (_norm(axis=-3), {"scale": (3,), "bias": (3,)}, "axis -3 is no dimension of x"),
        (_norm(), {"scale": (2,), "bias": (3,)}, "scale of shape 2 does not fit rows of 3"),
        (_norm(), {"scale": (3,), "bias": (4,)}, "bias of shape 4 does not fit rows of 3"),
        (_softmax((2, 3), 1, arithmetic="half"), {}, "unknown arithmetic 'half'"),
    ],
)
def test_refusals_name_the_node(
    proto: onnx.ModelProto, feeds: dict[str, tuple[int, ...]], said: str
) -> None:
    given = {"x": _floats((2, 3)), **{name: _floats(shape) for name, shape in feeds.items()}}
    with pytest.raises(ModelError, match=f"make_y.*{said}"):
        run(make_session(proto.SerializeToString()), given)


def test_the_evaluator_refuses_axes_and_profiles() -> None:
    x = {"x": _floats((2, 3))}
    for proto, said in (
        (_softmax((2, 3), 2), "axis 2 is no dimension"),
        (_softmax((2, 3), 1, arithmetic="half"), "half"),
    ):
        with pytest.raises(ModelError, match=f"make_y.*{said}"):
            Evaluator(proto).run(None, x)

"""MatMul, FusedMatMul and Gemm in ONNX Runtime, bit for bit against their reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from onnxbf.arithmetic import PROFILES, parse_arithmetic
from onnxbf.custom_ops.kernels import kernels
from onnxbf.custom_ops.reference import Evaluator
from onnxbf.custom_ops.reference_products import product
from onnxbf.errors import ModelError
from onnxbf.session import make_session, run
from tests import operands
from tests.implementations import Floats, same_bits
from tests.small_models import check_in_both, model, node, ours, value

MATMUL_SHAPES = [
    ((3, 5), (5, 2)),
    ((5,), (5,)),
    ((5,), (5, 2)),
    ((3, 5), (5,)),
    ((2, 3, 5), (5, 2)),
    ((2, 1, 3, 4), (3, 4, 2)),
    ((4,), (2, 4, 3)),
    ((2, 3, 4), (4,)),
    ((1, 3, 4), (2, 4, 2)),
    ((3, 0), (0, 2)),
    ((0, 3), (3, 2)),
    ((2, 3), (3, 0)),
    ((0, 2, 3), (3, 2)),
]
GEMM_TERMS = [None, (), (1,), (4,), (3, 1), (1, 4), (3, 4)]


def _proto(op_type: str, shapes: list[tuple[int, ...]], **attributes: Any) -> Any:
    names = ["a", "b", "c"][: len(shapes)]
    attributes = {"arithmetic": "avx512_bf16", **attributes}
    return model(
        [ours(op_type, names, "y", **attributes)],
        [value(name, shape=[None] * len(shape)) for name, shape in zip(names, shapes)],
        [value("y")],
    )


def _feeds(shapes: list[tuple[int, ...]]) -> dict[str, Floats]:
    rng = np.random.default_rng(1)
    return {name: operands.ordinary(rng, shape) for name, shape in zip("abc", shapes)}


@pytest.mark.parametrize("text", [*PROFILES, "sequential{format=fp16}", "chunked{size=2}"])
def test_every_profile(text: str) -> None:
    shapes = [(2, 3, 9), (9, 4)]
    check_in_both(_proto("MatMul", shapes, arithmetic=text), _feeds(shapes))


RANDOM: dict[str, Any] = {
    "arithmetic": "chunked{size=3,inner=bf16:sr,outer=fp16:sr}",
    "seed": 2**63 - 1,
    "node": 9,
}


@pytest.mark.parametrize(
    ("op_type", "shapes", "inputs"),
    [
        ("MatMul", [(2, 3, 9), (9, 4)], ["a", "b", "step"]),
        ("FusedMatMul", [(2, 3, 9), (9, 4)], ["a", "b", "step"]),
        ("Gemm", [(3, 9), (9, 4), (4,)], ["a", "b", "c", "step"]),
    ],
)
def test_steps_draw_anew(op_type: str, shapes: list[tuple[int, ...]], inputs: list[str]) -> None:
    feeds = _feeds(shapes)
    values = [value(name, shape=[None] * array.ndim) for name, array in feeds.items()]
    step = value("step", TensorProto.INT64, [])
    with_step = model([ours(op_type, inputs, "y", **RANDOM)], [*values, step], [value("y")])
    found = [
        check_in_both(with_step, {**feeds, "step": np.array(number)})["y"] for number in (0, 1, 7)
    ]
    assert not same_bits(found[0], found[1]) and not same_bits(found[1], found[2])
    without = [name for name in inputs[:-1] if name]
    still = model([ours(op_type, without, "y", **RANDOM)], values, [value("y")])
    assert same_bits(check_in_both(still, feeds)["y"], found[0])
    again = check_in_both(with_step, {**feeds, "step": np.array(7)}, threads=3)["y"]
    assert same_bits(again, found[2])


def test_a_step_out_of_range_is_refused() -> None:
    values = [value("a"), value("b"), value("step", TensorProto.INT64, [])]
    proto = model([ours("MatMul", ["a", "b", "step"], "y", **RANDOM)], values, [value("y")])
    feeds = {**_feeds([(2, 3), (3, 2)]), "step": np.array(-1)}
    with pytest.raises(ModelError, match=r"'step' is -1, but must be from 0 to 4294967295"):
        run(make_session(proto.SerializeToString()), feeds)


@pytest.mark.parametrize(("a", "b"), MATMUL_SHAPES)
def test_matmul_has_the_shapes_of_onnx(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    feeds = _feeds([a, b])
    got = check_in_both(_proto("MatMul", [a, b]), feeds)["y"]
    assert got.shape == np.matmul(feeds["a"], feeds["b"]).shape
    exact = check_in_both(_proto("MatMul", [a, b], arithmetic="exact"), feeds)["y"]
    wide = np.matmul(feeds["a"].astype(np.float64), feeds["b"].astype(np.float64))
    np.testing.assert_allclose(exact, wide, rtol=2.0**-23)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_change_nothing(threads: int) -> None:
    shapes = [(2, 70, 40), (40, 90)]
    session = make_session(_proto("MatMul", shapes).SerializeToString(), threads=threads)
    alone = make_session(_proto("MatMul", shapes).SerializeToString(), threads=1)
    feeds = _feeds(shapes)
    assert same_bits(run(session, feeds)["y"], run(alone, feeds)["y"])


ROUNDING = ["avx512_bf16", "torch_cpu_bf16", "amx_bf16", "arm_bf16", "sequential{format=bf16}"]


@pytest.mark.parametrize("text", ROUNDING)
@pytest.mark.parametrize("make", operands.ALL)
@pytest.mark.parametrize("trans_a", [0, 1])
def test_factors_need_not_be_rounded_again(
    text: str, make: Callable[..., Floats], trans_a: int
) -> None:
    """Of bfloat16 numbers alone, of all but one, or of others: each row is what it is alone."""
    shapes, rng = [(240, 40), (240, 32)], np.random.default_rng(2)
    feeds = {name: make(rng, shape) for name, shape in zip("ab", shapes)}
    rounded = {
        name: (array.view(np.uint32) & 0xFFFF0000).view(np.float32) for name, array in feeds.items()
    }
    but_one = rounded["a"].copy()
    but_one[11, 7] = feeds["a"][11, 7]
    if not trans_a:
        shapes[0] = (40, 240)
    proto = _proto("Gemm", shapes, arithmetic=text, transA=trans_a).SerializeToString()
    session, profile = make_session(proto), parse_arithmetic(text)
    for factors in (feeds, rounded, {**rounded, "a": but_one}):
        a, b = factors["a"].T.copy(), factors["b"]
        got = run(session, {"a": factors["a"] if trans_a else a, "b": b})["y"]
        rows = [kernels().matmul(row[None], b, profile) for row in a]
        assert same_bits(got, np.concatenate(rows))
        assert same_bits(got[7:8, :2], product(profile, a[7:8], b[:, :2]))


@pytest.mark.parametrize("text", ["avx512_bf16", "fp32", "sequential{format=bf16}"])
@pytest.mark.parametrize("make", operands.ALL)
def test_few_rows_of_many_long_columns(text: str, make: Callable[..., Floats]) -> None:
    """Each column is what it is beside fewer others."""
    shapes, rng, profile = [(3, 900), (900, 610)], np.random.default_rng(4), parse_arithmetic(text)
    feeds = {name: make(rng, shape) for name, shape in zip("ab", shapes)}
    session = make_session(_proto("MatMul", shapes, arithmetic=text).SerializeToString())
    got = run(session, feeds)["y"]
    parts = np.split(feeds["b"], range(30, 610, 30), axis=1)
    wanted = [kernels().matmul(feeds["a"], np.ascontiguousarray(b), profile) for b in parts]
    assert same_bits(got, np.concatenate(wanted, axis=1))


@pytest.mark.parametrize("trans_a", [0, 1])
@pytest.mark.parametrize("trans_b", [0, 1])
@pytest.mark.parametrize("alpha", [1.0, 0.3])
def test_fused_matmul_turns_and_scales(trans_a: int, trans_b: int, alpha: float) -> None:
    shapes = [(2, 5, 3) if trans_a else (2, 3, 5), (4, 5) if trans_b else (5, 4)]
    options = {"transA": trans_a, "transB": trans_b, "alpha": alpha}
    check_in_both(_proto("FusedMatMul", shapes, **options), _feeds(shapes))


@pytest.mark.parametrize("text", ["avx512_bf16", "sequential", "sequential{format=bf16}"])
@pytest.mark.parametrize("perm_y", [(0, 2, 1, 3), (0, 3, 1, 2), (1, 0, 3, 2), (3, 2, 1, 0)])
@pytest.mark.parametrize("turned", [False, True])
def test_orders_of_dimensions_are_those_of_transpose(
    text: str, perm_y: tuple[int, ...], turned: bool
) -> None:
    """Of 2 x 3 products of 5 x 6 by 6 x 7, small or not, whose kernels differ by profile."""
    shapes = [(2, 5, 3, 6), (2, 7, 3, 6)]
    orders = {"perm_a": (0, 2, 1, 3), "perm_b": (0, 2, 3, 1), "perm_y": perm_y}
    options: dict[str, Any] = {"transA": 0, "transB": 0, "alpha": 0.3}
    if turned:
        shapes[0], orders["perm_a"], options["transA"] = (3, 2, 6, 5), (1, 0, 2, 3), 1
        orders["perm_b"], options["transB"] = (0, 2, 1, 3), 1
    found = check_in_both(
        _proto("FusedMatMul", shapes, arithmetic=text, **orders, **options), _feeds(shapes)
    )
    assert found["y"].shape == tuple((2, 3, 5, 7)[axis] for axis in perm_y)


@pytest.mark.parametrize("columns", [32, 33])
@pytest.mark.parametrize("special", [False, True])
def test_large_batches_of_small_products(columns: int, special: bool) -> None:
    """By any number of threads what Transpose and single products give, NaNs included."""
    shapes = [(3, 40, 5, 12), (3, 5, 12, columns)]
    orders = {"perm_a": (0, 2, 1, 3), "perm_y": (0, 2, 1, 3)}
    feeds = _feeds(shapes)
    if special:
        feeds["a"][1, 7, 2, 3], feeds["b"][2, 4, 5, 6] = np.nan, np.inf
    wanted = np.empty((3, 40, 5, columns), np.float32)
    single = make_session(_proto("MatMul", [(40, 12), (12, columns)]).SerializeToString())
    for i, head in np.ndindex(3, 5):
        one = {"a": np.ascontiguousarray(feeds["a"][i, :, head]), "b": feeds["b"][i, head]}
        wanted[i, :, head] = run(single, one)["y"]
    for threads in (1, 2, 3):
        proto = _proto("MatMul", shapes, **orders)
        session = make_session(proto.SerializeToString(), threads=threads)
        assert same_bits(run(session, feeds)["y"], wanted)


@pytest.mark.parametrize("name", ["perm_a", "perm_b", "perm_y"])
@pytest.mark.parametrize("order", [(0, 1, 2), (0, 0), (0, 2), (0,)])
def test_other_orders_are_refused(name: str, order: tuple[int, ...]) -> None:
    shapes: list[tuple[int, ...]] = [(3, 4), (4, 5)]
    session = make_session(_proto("MatMul", shapes, **{name: order}).SerializeToString())
    with pytest.raises(ModelError, match=f"attribute '{name}' is no order of the dimensions"):
        run(session, _feeds(shapes))


@pytest.mark.parametrize("term", GEMM_TERMS)
@pytest.mark.parametrize("trans", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_gemm_as_onnx_has_it(term: tuple[int, ...] | None, trans: tuple[int, int]) -> None:
    shapes = [(5, 3) if trans[0] else (3, 5), (4, 5) if trans[1] else (5, 4)]
    if term is not None:
        shapes.append(term)
    options = {"transA": trans[0], "transB": trans[1]}
    feeds = _feeds(shapes)
    check_in_both(_proto("Gemm", shapes, **options), feeds)
    check_in_both(_proto("Gemm", shapes, **options, alpha=0.7, beta=-1.3), feeds)
    sums = check_in_both(_proto("Gemm", shapes, **options, arithmetic="exact"), feeds)["y"]
    plain = model(
        [node("Gemm", list(feeds), "y", **options)],
        [value(name, shape=list(array.shape)) for name, array in feeds.items()],
        [value("y")],
    )
    theirs = run(make_session(plain.SerializeToString()), feeds)["y"]
    np.testing.assert_allclose(sums, theirs, rtol=1e-5, atol=1e-5)


def test_gemm_without_products_is_its_term() -> None:
    shapes = [(3, 0), (0, 4), (4,)]
    feeds = _feeds(shapes)
    got = check_in_both(_proto("Gemm", shapes, beta=2.0), feeds)["y"]
    assert same_bits(got, np.broadcast_to(feeds["c"] * 2, (3, 4)))


def test_casts_round_operands_and_result() -> None:
    """As nodes of their own would, around the same product."""
    shapes = [(3, 9), (9, 4)]
    casts = {"cast_a": "e4m3fn:rne{overflow=saturate}", "cast_b": "e5m2:rtz", "cast_y": "bf16:rna"}
    feeds = _feeds(shapes)
    inside = check_in_both(_proto("MatMul", shapes, arithmetic="chunked", **casts), feeds)["y"]
    fields: list[dict[str, Any]] = [
        {"exponent_bits": 4, "mantissa_bits": 3, "specials": "nan", "overflow": "saturate"},
        {"exponent_bits": 5, "mantissa_bits": 2, "rounding": "rtz"},
        {"rounding": "rna"},
    ]
    nodes = [
        ours("QuantizeDequantize", ["a"], "qa", **fields[0]),
        ours("QuantizeDequantize", ["b"], "qb", **fields[1]),
        ours("MatMul", ["qa", "qb"], "sums", arithmetic="chunked"),
        ours("QuantizeDequantize", ["sums"], "y", **fields[2]),
    ]
    around = model(nodes, [value("a"), value("b")], [value("y")])
    assert same_bits(check_in_both(around, feeds)["y"], inside)


REFUSED = {
    "arithmetic": ("avx512", "is 'avx512': unknown arithmetic 'avx512'"),
    "cast_a": ("bf61", "is 'bf61': unknown number format 'bf61'"),
    "cast_b": ("bf16:up", "is 'bf16:up': unknown rounding 'up'"),
    "cast_y": ("bf16{bits=3}", "is 'bf16{bits=3}': 'bf16' has no option 'bits'"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("op_type", ["MatMul", "FusedMatMul", "Gemm"])
def test_wrong_attributes_are_refused_by_name(op_type: str, name: str) -> None:
    wrong, told = REFUSED[name]
    proto = _proto(op_type, [(1, 1), (1, 1)], **{name: wrong})
    with pytest.raises(ModelError) as error:
        make_session(proto.SerializeToString())
    assert f"{op_type} node 'make_y': attribute '{name}' {told}" in str(error.value)


def test_an_absent_arithmetic_is_refused() -> None:
    proto = _proto("MatMul", [(1, 1), (1, 1)], arithmetic="")
    with pytest.raises(ModelError, match=r"make_y.*'arithmetic' is ''"):
        make_session(proto.SerializeToString())


@pytest.mark.parametrize(
    ("op_type", "shapes", "told"),
    [
        ("MatMul", [(2, 3), (4, 5)], "shapes 2x3 and 4x5 do not fit together"),
        ("MatMul", [(2, 3, 4), (3, 4, 5)], "shapes 2x3x4 and 3x4x5"),
        ("MatMul", [(), (3,)], "shapes a scalar and 3"),
        ("Gemm", [(2, 3), (4, 5)], "shapes 2x3 and 4x5 do not fit together"),
        ("Gemm", [(2, 3), (3, 5), (3,)], "C of shape 3 does not fit a result of shape 2x5"),
    ],
)
def test_shapes_that_do_not_fit(op_type: str, shapes: list[tuple[int, ...]], told: str) -> None:
    proto, feeds = _proto(op_type, shapes), _feeds(shapes)
    with pytest.raises(ModelError) as error:
        run(make_session(proto.SerializeToString()), feeds)
    assert f"{op_type} node 'make_y': {told}" in str(error.value)
    if len(shapes) == 2:
        with pytest.raises(ModelError, match=f"{op_type} node 'make_y': shape"):
            Evaluator(proto).run(None, feeds)


def test_another_type_of_input_is_refused() -> None:
    kinds = [value("a", TensorProto.DOUBLE), value("b", TensorProto.DOUBLE)]
    proto = model([ours("MatMul", ["a", "b"], "y", arithmetic="fp32")], kinds, [value("y")])
    with pytest.raises(ModelError, match=r"'tensor\(double\)'.*make_y"):
        make_session(proto.SerializeToString())

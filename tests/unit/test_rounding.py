"""Rounding: one body for every implementation, judged by hand-made tables and by other libraries.

Outside judges: ml_dtypes, ONNX's reference implementation of Cast, and the CPU's instructions.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from onnxbf.custom_ops import probes
from onnxbf.custom_ops.cpu_instructions import cpu_codes
from onnxbf.custom_ops.selftest import CPU_INSTRUCTIONS
from onnxbf.encoding import decode
from onnxbf.formats import (
    FORMATS,
    Cast,
    Overflow,
    Rounding,
    Specials,
    Subnormals,
    parse_cast,
    parse_format,
)
from onnxbf.rounding import round_array, round_value
from tests.implementations import ALL, FAST, KERNELS, Floats, Round, same, same_bits
from tests.stored_types import STORED

INF, NAN = float("inf"), float("nan")

# Each: cast, input, expected. Numbers of e2m1: 0, 0.5, 1, 1.5, 2, 3, 4, 6.
BY_HAND = [
    # between neighbours, at the midpoint (even below, then odd below), and beyond it
    ("e2m1:rne", [1.2, 1.25, 1.3, 1.75, 2.5], [1, 1, 1.5, 2, 2]),
    ("e2m1:rna", [1.2, 1.25, 1.3, 1.75, 2.5], [1, 1.5, 1.5, 2, 3]),
    ("e2m1:rtz", [1.2, -1.2, 1.9, -1.9, 5.9], [1, -1, 1.5, -1.5, 4]),
    ("e2m1:rup", [1.2, -1.2, 1.9, -1.9, 0.1], [1.5, -1, 2, -1.5, 0.5]),
    ("e2m1:rdn", [1.2, -1.2, 1.9, -1.9, -0.1], [1, -1.5, 1.5, -2, -0.5]),
    ("e2m1:rto", [1.2, 1.6, 2.1, 0.1, -0.1], [1.5, 1.5, 3, 0.5, -0.5]),
    # around half of the smallest number
    ("e2m1:rne", [0.24, 0.25, 0.26, -0.25], [0.0, 0.0, 0.5, -0.0]),
    ("e2m1:rna", [0.24, 0.25, 0.26, -0.25], [0.0, 0.5, 0.5, -0.5]),
    # zeros, infinities and NaN
    ("bf16:rne", [0.0, -0.0, INF, -INF, NAN], [0.0, -0.0, INF, -INF, NAN]),
    ("e4m3fn:rne", [INF, -INF, NAN], [NAN, NAN, NAN]),
    ("e2m1:rne", [INF, -INF, NAN], [6, -6, NAN]),
    ("bf16:rne{overflow=saturate}", [INF, -INF], [3.3895314e38, -3.3895314e38]),
    # beyond the largest number, as IEEE 754-2019, 4.3 and 7.4 say
    ("fp16:rne", [65519.0, 65520.0, -65520.0], [65504, INF, -INF]),
    ("fp16:rtz", [1e9, -1e9], [65504, -65504]),
    ("fp16:rup", [65505.0, -1e9], [INF, -65504]),
    ("fp16:rdn", [1e9, -65505.0], [65504, -INF]),
    ("fp16:rto", [1e9, -1e9, INF], [65504, -65504, INF]),
    ("e4m3fn:rne", [464.0, 465.0], [448, NAN]),
    ("e4m3fn:rne{overflow=saturate}", [465.0, -INF], [448, -448]),
    # subnormal numbers: kept, or zero as soon as they are smaller than the smallest normal one
    ("fp16:rne", [2.0**-24, 2.0**-25, 1.5 * 2.0**-25], [2.0**-24, 0, 2.0**-24]),
    ("fp16:rup{subnormals=flush}", [2.0**-24, -(2.0**-15), 2.0**-14], [0.0, -0.0, 2.0**-14]),
    ("bf16:rne", [2.0**-133, 2.0**-134], [2.0**-133, 0]),
    ("bf16:rne{subnormals=flush}", [2.0**-126 * (1 - 2.0**-23), -(2.0**-140)], [0.0, -0.0]),
]


@pytest.mark.parametrize("round_", ALL.values(), ids=ALL)
@pytest.mark.parametrize(("cast", "values", "wanted"), BY_HAND)
def test_by_hand(round_: Round, cast: str, values: list[float], wanted: list[float]) -> None:
    rounded = round_(np.array(values, np.float32), parse_cast(cast))
    assert same(rounded, np.array(wanted, np.float32)), rounded


# Each: cast, a value, the largest random word with which it still goes towards zero, if any.
STOCHASTIC_BY_HAND = [
    ("e4m2:sr", 1.3125, 0xBFFFFFFF),  # a fourth of the way from 1.25 to 1.5
    ("e4m2:sr", -1.4375, 0x3FFFFFFF),  # three fourths of the way
    ("e4m2:sr", 1.25, 0xFFFFFFFF),  # a number of the format stays
    ("e4m2:sr{bits=1}", 1.3125, 0xFFFFFFFF),  # one bit knows halves alone
    ("e4m2:sr{bits=1}", 1.4375, 0x7FFFFFFF),
    ("e4m2:sr", 2.0**-13, 0xF7FFFFFF),  # a 32nd of the smallest number
    ("e4m2:sr", 2.0**-40, 0xFFFFFFFE),  # 2^-32 of it
    ("e4m2:sr", 2.0**-41, 0xFFFFFFFF),  # less than a word can tell
]


@pytest.mark.parametrize(("cast", "value", "last"), STOCHASTIC_BY_HAND)
def test_stochastic_by_hand(cast: str, value: float, last: int) -> None:
    how = parse_cast(cast)
    below = round_value(value, parse_cast(cast.replace("sr", "rtz").partition("{")[0]))
    for word in {last, min(last + 1, 0xFFFFFFFF)}:
        values, words = np.float32([value]), np.uint32([word])
        rounded = round_value(value, how, word)
        assert (rounded == below) == (word <= last)
        assert same_bits(round_array(values, how, words), np.float32([rounded]))


def _probes(name: str, thinned: int = 1) -> Floats:
    fmt = parse_format(name)
    near = probes.boundaries(fmt)[::thinned]
    return np.concatenate([probes.specials(), near, probes.upper_halves(0x8000)[:: 31 * thinned]])


SMALL = ["e5m2", "e4m3", "e4m3fn", "e3m4", "e3m4fn", "e3m2", "e2m3", "e2m1"]
LARGE = ["bf16", "fp16", "tf32", "fp32", "e7m23", "e8m1", "e5m7"]
CHOICES = list(itertools.product(Rounding, Subnormals, Overflow))


@pytest.mark.parametrize("round_", FAST.values(), ids=FAST)
@pytest.mark.parametrize("name", [*SMALL, *LARGE])
def test_agrees_with_the_reference(round_: Round, name: str) -> None:
    values = _probes(name, 7)
    thinned = values[:: max(1, values.size // 500)]
    for choice in CHOICES:
        cast = Cast(parse_format(name), *choice)
        key = {"seed": 2**63 + 1, "node": 2**32 - 1, "step": 3}
        wanted = ALL["scalar"](thinned, cast, **key)
        assert same(round_(thinned, cast, **key), wanted), str(cast)


@pytest.mark.parametrize("round_", KERNELS.values(), ids=KERNELS)
@pytest.mark.parametrize("name", [*SMALL, *LARGE])
def test_kernels_give_the_bits_of_numpy(round_: Round, name: str) -> None:
    """Payloads of NaNs as well, and few random bits."""
    values = _probes(name, 3)
    for rounding, subnormals, overflow in CHOICES:
        bits = 5 if overflow is Overflow.SATURATE else 32
        cast = Cast(parse_format(name), rounding, subnormals, overflow, bits)
        key = {"seed": 0x123456789ABCDEF0, "node": 1, "step": 2**32 - 1}
        assert same_bits(round_(values, cast, **key), FAST["numpy"](values, cast, **key)), str(cast)


@pytest.mark.parametrize("round_", FAST.values(), ids=FAST)
@pytest.mark.parametrize("name", STORED)
def test_agrees_with_ml_dtypes(round_: Round, name: str) -> None:
    values = np.concatenate([_probes(name), probes.upper_halves(0, 1, 0x7FFF, 0xFFFF)])
    if FORMATS[name].specials is Specials.NONE:  # ml_dtypes makes -0 of NaN; we carry it on
        values = values[~np.isnan(values)]
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        wanted = values.astype(STORED[name]).astype(np.float32)
    assert same(round_(values, Cast(FORMATS[name])), wanted)


ONNX_CASTS = [
    ("bf16", Overflow.INFINITY),
    ("fp16", Overflow.INFINITY),
    ("e4m3fn", Overflow.INFINITY),
    ("e4m3fn", Overflow.SATURATE),
    ("e5m2", Overflow.INFINITY),
    ("e5m2", Overflow.SATURATE),
]


@pytest.mark.parametrize("round_", FAST.values(), ids=FAST)
@pytest.mark.parametrize(("name", "overflow"), ONNX_CASTS)
def test_agrees_with_onnx(round_: Round, name: str, overflow: Overflow) -> None:
    """With ``saturate``, which ONNX knows for float8 alone, and without."""
    onnx_type = TensorProto.DataType.Value(FORMATS[name].onnx_type or "")
    graph = helper.make_graph(
        [
            helper.make_node(
                "Cast", ["x"], ["code"], to=onnx_type, saturate=overflow == "saturate"
            ),
            helper.make_node("Cast", ["code"], ["y"], to=TensorProto.FLOAT),
        ],
        "pair",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)])
    values = _probes(name)
    with np.errstate(over="ignore", invalid="ignore"):
        (wanted,) = ReferenceEvaluator(model).run(None, {"x": values})
    assert same(round_(values, Cast(FORMATS[name], overflow=overflow)), wanted)


@pytest.mark.parametrize("round_", FAST.values(), ids=FAST)
@pytest.mark.parametrize("cast", CPU_INSTRUCTIONS, ids=str)
def test_agrees_with_the_cpu(round_: Round, cast: Cast) -> None:
    values = probes.upper_halves(0, 1, 0x1000, 0x7FFF, 0x8000, 0x8001, 0xEFFF, 0xFFFF)
    codes = cpu_codes(values, cast)
    if codes is None:
        pytest.skip("this CPU has no such instruction")
    assert same(round_(values, cast), decode(codes, cast.format))


def test_array_needs_random_words() -> None:
    with pytest.raises(ValueError, match="random words"):
        round_array(np.ones(3, np.float32), parse_cast("bf16:sr"))

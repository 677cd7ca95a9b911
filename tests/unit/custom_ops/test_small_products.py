"""Batches of small products: factors that are read where they stand, and those that are not."""

from __future__ import annotations

import hashlib
import itertools
from typing import Any

import numpy as np
import pytest

from onnxbf.arithmetic import parse_arithmetic
from onnxbf.custom_ops.kernels import kernels
from onnxbf.custom_ops.library import instruction_sets
from onnxbf.custom_ops.reference_products import product
from onnxbf.formats import parse_cast
from onnxbf.rounding import round_array
from onnxbf.session import make_session, run
from tests import operands
from tests.implementations import Floats, same_bits
from tests.other_sets import printed_under
from tests.small_models import model, ours, value
from tests.stand_in import stand_ins

SETS = (*instruction_sets(), *stand_ins())
ROWS, INNER, COLUMNS = 13, 6, 32  # rows of two blocks; columns of whole tiles of every set
SUBNORMAL, INFINITY, NAN, SIGNALING = 0x00010000, 0x7F800000, 0x7FC00000, 0x7F810000


def _bfloat16(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    bits = operands.ordinary(rng, shape).view(np.uint32) & 0xFFFF0000
    return np.where(rng.random(shape) < 0.1, 0x80000000, bits).astype(np.uint32).view(np.float32)


def _factors(bits: int | None) -> tuple[Floats, Floats]:
    """Numbers of the format, but for the last of each factor, which meets large and small ones.

    The first sum is subnormal; one of a row that is summed later overflows in bfloat16 alone.
    """
    rng = np.random.default_rng(5)
    a, b = _bfloat16(rng, (ROWS, INNER)), _bfloat16(rng, (INNER, COLUMNS))
    a[:, -1] = np.ldexp(1.5, np.where(np.arange(ROWS) < ROWS // 2 + 1, -60, 60))
    b[-1] = np.ldexp(-1.5, np.resize([60, -60], COLUMNS))
    a[-2, :-1], a[-2, -1], b[0] = 0, np.float32(2.0**-60), np.float32(2.0**-30)
    a[0], b[:, 0] = np.float32(2.0**-70), np.float32(2.0**-62)
    a.view(np.uint32)[-2, :2] = 0x7F7F0000, 0x7B400000
    b[:2, 1] = 1
    if bits is not None:
        a[-1], b[:, -1] = 0, 0
        a.view(np.uint32)[-1, -1] = b.view(np.uint32)[-1, -1] = bits
    return a, b


@pytest.mark.parametrize("text", ["avx512_bf16", "fp32"])
@pytest.mark.parametrize(
    "bits", [None, 0x3F808000, 0x3F800001, SUBNORMAL, 0x807F8000, INFINITY, NAN, SIGNALING]
)
def test_numbers_of_the_format_and_others(bits: int | None, text: str) -> None:
    profile, (a, b) = parse_arithmetic(text), _factors(bits)
    wanted = product(profile, a, b)
    for name in SETS:
        assert same_bits(kernels(name).matmul(a, b, profile), wanted), name


@pytest.mark.parametrize(
    "cast",
    ["bf16:rne", "bf16:rne{subnormals=flush}", "bf16:rne{overflow=saturate}", "e4m3fn:rne"],
)
@pytest.mark.parametrize("text", ["avx512_bf16", "fp32"])
def test_casts_of_factors_and_results(text: str, cast: str) -> None:
    """As by nodes of their own: of subnormal numbers, infinities and what is too large, too."""
    options: dict[str, Any] = {"arithmetic": text, "alpha": 1.0}
    casts = dict.fromkeys(("cast_a", "cast_b", "cast_y"), cast)
    nodes = [
        *(ours("QuantizeDequantize", [name], f"q{name}", parse_cast(cast)) for name in "ab"),
        ours("FusedMatMul", ["qa", "qb"], "sums", **options),
        ours("QuantizeDequantize", ["sums"], "y", parse_cast(cast)),
    ]
    inside = ours("FusedMatMul", ["a", "b"], "y", **options, **casts)
    sessions = [
        make_session(model(each, [value("a"), value("b")], [value("y")]).SerializeToString())
        for each in ([inside], nodes)
    ]
    some = [_factors(bits) for bits in (None, SUBNORMAL, 1, INFINITY, 0x7F7F0000, 0x7F7FFFFF)]
    powers = np.exp2(np.arange(ROWS * INNER) % 23 - 20).astype(np.float32).reshape(ROWS, INNER)
    for a, b in [*some, (powers, np.resize(powers, (INNER, COLUMNS)))]:
        got, wanted = (run(session, {"a": a, "b": b})["y"] for session in sessions)
        assert same_bits(got, wanted)


ORDERS = [
    *itertools.product((False, True), repeat=4)
]  # of a, b and y by columns, and of any numbers
BATCH, HEADS, SIZES = 3, 2, (37, 18, 35)


def _heads(rows: int, columns: int, exact: bool) -> Floats:
    """Matrices of heads that stand beside each other: batch x rows x heads x columns."""
    rng, shape = np.random.default_rng(rows), (BATCH, rows, HEADS, columns)
    return _bfloat16(rng, shape) if exact else operands.ordinary(rng, shape)


def _results(
    left: bool, right: bool, out: bool, exact: bool, threads: int
) -> tuple[Floats, Floats, Floats]:
    """Factors as batch x heads x rows x columns, and what comes of them as they stand in memory."""
    rows, inner, columns = SIZES
    a = _heads(inner, rows, exact) if left else _heads(rows, inner, exact)
    b = _heads(columns, inner, exact) if right else _heads(inner, columns, exact)
    turned = {"transA": int(left), "transB": int(right), "alpha": 1.0, "cast_y": "bf16:rne"}
    orders = {"perm_a": (0, 2, 1, 3), "perm_b": (0, 2, 1, 3)}
    orders["perm_y"] = (0, 3, 1, 2) if out else (0, 2, 1, 3)
    node = ours("FusedMatMul", ["a", "b"], "y", arithmetic="avx512_bf16", **turned, **orders)
    session = make_session(
        model([node], [value("a"), value("b")], [value("y")]).SerializeToString(), threads=threads
    )
    y = run(session, {"a": a, "b": b})["y"].transpose((0, 2, 3, 1) if out else (0, 2, 1, 3))
    a, b = a.transpose(0, 2, 1, 3), b.transpose(0, 2, 1, 3)
    return np.swapaxes(a, 2, 3) if left else a, np.swapaxes(b, 2, 3) if right else b, y


@pytest.mark.parametrize("order", ORDERS)
def test_factors_and_results_by_columns(order: tuple[bool, bool, bool, bool]) -> None:
    """On any number of threads, as single products of matrices that stand by rows."""
    profile, cast = parse_arithmetic("avx512_bf16"), parse_cast("bf16:rne")
    for threads in (1, 2, 3):
        a, b, y = _results(*order, threads)
        for place in np.ndindex(BATCH, HEADS):
            sums = kernels("scalar").matmul(a[place], b[place], profile)
            assert same_bits(y[place], round_array(sums, cast))


def digests() -> list[str]:
    found = (_results(*order, 1)[2] for order in ORDERS)
    return [hashlib.sha256(y.tobytes()).hexdigest() for y in found]


_PRINT = "from tests.unit.custom_ops.test_small_products import digests; print(*digests())"


@pytest.mark.parametrize("name", SETS)
def test_every_instruction_set_turns_them(name: str) -> None:
    assert printed_under(name, _PRINT) == digests()

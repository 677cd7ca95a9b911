"""The scalar dot products, judged by GNU MPFR, and by the words of vendors where numbers end."""

from __future__ import annotations

import math

import numpy as np
import pytest

from onnxbf.arithmetic import PROFILES, parse_arithmetic
from onnxbf.dot import dot
from onnxbf.formats import Overflow
from tests import mpfr, operands

TEXTS = [
    *PROFILES,
    *(
        f"sequential{{format={fmt},rounding={rounding}}}"
        for fmt in ("bf16", "fp16", "e4m3", "e8m21")
        for rounding in ("rne", "rtz", "rup", "rdn")
    ),
    "chunked{size=3,inner=fp32,outer=bf16}",
    "chunked{size=4,inner=bf16:rtz,outer=fp16}",
    "tensor_core{group=3,bits=10,operands=fp16,accumulator=fp16:rne,promote=7}",
    "tensor_core{group=64,bits=20,operands=e5m2,accumulator=e8m21:rup}",
]
INF, NAN = math.inf, math.nan


def _bits(number: np.float32) -> int:
    return int(np.float32(number).view(np.uint32))


@pytest.mark.parametrize("text", TEXTS)
def test_as_mpfr_computes(text: str) -> None:
    profile, rng = parse_arithmetic(text), np.random.default_rng(len(text))
    for make in operands.FINITE:
        for count in (1, 2, 3, 7, 34):
            a, b = make(rng, (count,)), make(rng, (count,))
            got, wanted = float(dot(profile, a, b)), mpfr.dot(profile, a.tolist(), b.tolist())
            assert got == wanted or (math.isnan(got) and math.isnan(wanted)), (make, a, b)


def test_chunks_of_torch_are_longer_where_sums_are_long() -> None:
    profile, rng = PROFILES["torch_cpu_bf16"], np.random.default_rng(0)
    for count, chunk in ((1024, 512), (1025, 1024), (2050, 1024)):
        assert profile.chunk_of(count) == chunk
        a, b = operands.ordinary(rng, (count,)), operands.ordinary(rng, (count,))
        assert dot(profile, a, b) == mpfr.dot(profile, a.tolist(), b.tolist())


@pytest.mark.parametrize("text", TEXTS)
def test_without_products_the_sum_is_zero(text: str) -> None:
    assert _bits(dot(parse_arithmetic(text), [], [])) == 0


def _saturates(text: str) -> bool:
    """Whether an infinite operand becomes a number."""
    operands = parse_arithmetic(text).operands
    return operands is not None and operands.overflow is Overflow.SATURATE


@pytest.mark.parametrize("text", [text for text in TEXTS if not _saturates(text)])
@pytest.mark.parametrize(
    ("a", "b"),
    [([INF], [0.0]), ([1.0, INF], [NAN, 1.0]), ([INF, 1.0], [1.0, -INF]), ([0.0, 2.0], [INF, 3.0])],
)
def test_what_is_no_number_is_nan(text: str, a: list[float], b: list[float]) -> None:
    assert np.isnan(dot(parse_arithmetic(text), a, b))


NAMED = [*PROFILES, "sequential", "chunked", "tensor_core"]


@pytest.mark.parametrize("text", [text for text in NAMED if not _saturates(text)])
def test_infinities_go_through(text: str) -> None:
    profile = parse_arithmetic(text)
    assert dot(profile, [1.0, INF], [1.0, 2.0]) == INF
    assert dot(profile, [3.0, 1.0, -INF], [1.0, 1.0, 2.0]) == -INF


VDPBF16PS_NANS = [  # by precedence: even a, even b, odd a, odd b, accumulator
    ([0x7FC10000, 0x7FC30000], [0x7FC20000, 0x7FC40000], 0x7FC10000),
    ([0x3F800000, 0x7FC30000], [0x7FC20000, 0x7FC40000], 0x7FC20000),
    ([0x3F800000, 0x7FC30000], [0x3F800000, 0x7FC40000], 0x7FC30000),
    ([0x3F800000, 0x3F800000], [0x3F800000, 0xFFC40000], 0xFFC40000),
    ([0x7FC10000, 0, 0xFF810000, 0], [0, 0, 0, 0], 0xFFC10000),  # a later pair, and made quiet
    ([0x7F800000, 0], [0, 0], 0xFFC00000),  # one that arises
    ([0x7F800000, 0, 0x7FC50000, 0], [0, 0, 0, 0], 0x7FC50000),
    ([0x7FC50000, 0, 0x7F800000, 0], [0, 0, 0, 0], 0x7FC50000),
]


@pytest.mark.parametrize(("a", "b", "wanted"), VDPBF16PS_NANS)
def test_nans_of_vdpbf16ps(a: list[int], b: list[int], wanted: int) -> None:
    left, right = (np.array(side, np.uint32).view(np.float32) for side in (a, b))
    assert _bits(dot(PROFILES["avx512_bf16"], left, right)) == wanted


NAN_1, NAN_2, LARGE = 0x7FC10000, 0x7FC20000, 0x7F000000
INFINITE, BELOW_ZERO = 0x7F800000, 0xFF800000
TDPBF16PS_NANS = [  # of numbers at places of sums of 40, times ones; as a Xeon gave them
    ({0: NAN_1, 1: NAN_2}, NAN_1),  # of even products before that of odd ones
    ({30: NAN_1, 1: NAN_2}, NAN_1),
    ({1: NAN_2}, NAN_2),
    ({0: NAN_1, 2: NAN_2}, NAN_2),  # of these, the last one's
    ({1: NAN_1, 3: NAN_2}, NAN_2),
    ({0: 0xFF810000}, 0xFFC10000),  # made quiet
    ({0: NAN_1, 32: NAN_2}, NAN_1),  # of the first chunk
    ({1: NAN_1, 32: NAN_2}, NAN_1),
    ({0: INFINITE, 2: BELOW_ZERO, 4: NAN_1}, NAN_1),  # one that is given before one that arises
    ({0: NAN_1, 2: INFINITE, 4: BELOW_ZERO}, NAN_1),
    ({0: INFINITE, 2: BELOW_ZERO, 1: NAN_1}, 0xFFC00000),  # but of even ones before odd ones
    ({0: LARGE, 2: LARGE, 4: BELOW_ZERO, 1: NAN_1}, 0xFFC00000),
    ({0: INFINITE, 1: BELOW_ZERO}, 0xFFC00000),
    ({0: INFINITE, 32: BELOW_ZERO, 33: INFINITE}, 0xFFC00000),
    ({0: INFINITE, 32: BELOW_ZERO, 34: NAN_1}, NAN_1),
    ({0: INFINITE, 31: BELOW_ZERO, 34: NAN_1}, 0xFFC00000),
]


@pytest.mark.parametrize(("numbers", "wanted"), TDPBF16PS_NANS)
def test_nans_of_tdpbf16ps(numbers: dict[int, int], wanted: int) -> None:
    left = np.zeros(40, np.uint32)
    left[list(numbers)] = list(numbers.values())
    assert _bits(dot(PROFILES["amx_bf16"], left.view(np.float32), [1.0] * 40)) == wanted


def test_a_nan_of_tdpbf16ps_is_the_left_one() -> None:
    left, right = (np.array([nan, 0], np.uint32).view(np.float32) for nan in (NAN_1, NAN_2))
    assert _bits(dot(PROFILES["amx_bf16"], left, right)) == NAN_1
    assert _bits(dot(PROFILES["amx_bf16"], right, left)) == NAN_2


def test_a_chunk_of_tdpbf16ps_is_not_filled_up() -> None:
    """A sum flushed to -0 stays so when a short chunk adds -0; zeros beside that would add +0."""
    whole, tiny = [0.0] * 31, 2.0**-100
    a = [2.0**-126, *whole, -(2.0**-126 + 2.0**-133), *whole, tiny, tiny]
    b = [1.0, *whole, 1.0, *whole, -tiny, -tiny]
    assert _bits(dot(PROFILES["amx_bf16"], a, b)) == 0x80000000
    assert _bits(dot(PROFILES["amx_bf16"], [*a, 0.0, 0.0], [*b, 0.0, 0.0])) == 0


def test_an_odd_one_out_has_zeros_beside_it() -> None:
    """VDPBF16PS takes pairs: +0 is added to what was flushed to -0, and only then."""
    a, b = [2.0**-100, 0.0, 0.0], [-(2.0**-100), 0.0, -1.0]
    assert _bits(dot(PROFILES["avx512_bf16"], a[:1], b[:1])) == 0x80000000
    assert _bits(dot(PROFILES["avx512_bf16"], a, b)) == 0


ONE, BELOW = 1.0, 2.0**-24  # what A100's cores still see beside 1, and V100's do not


@pytest.mark.parametrize(
    ("text", "terms", "wanted"),
    [  # of experiments in Fasi et al., 2021: a 1, and terms of half its last place
        ("volta_fp16", [ONE, BELOW, BELOW, BELOW], 1.0),
        ("ampere_bf16", [ONE, BELOW, BELOW, BELOW], 1.0 + 2.0**-23),
        ("hopper_bf16", [ONE, 2.0**-25, 2.0**-25, 2.0**-25, 2.0**-25], 1.0 + 2.0**-23),
        ("ampere_bf16", [ONE, 2.0**-25, 2.0**-25, 2.0**-25, 2.0**-25], 1.0),
        ("volta_fp16", [BELOW, BELOW, BELOW, ONE], 1.0),  # in any order
        ("volta_fp16", [BELOW, BELOW, BELOW, BELOW, ONE], 1.0 + 2.0**-22),  # but in groups
        ("volta_fp16", [ONE, -BELOW, -BELOW], 1.0),  # toward zero, whatever the sign
        ("volta_fp16", [-ONE, BELOW, BELOW], -1.0),
        ("hopper_fp8", [2.0**7, 2.0**-6], 2.0**7 + 2.0**-6),
        ("hopper_fp8", [2.0**8, 2.0**-6], 2.0**8),  # 13 places, and no more
    ],
)
def test_tensor_cores_cut_off(text: str, terms: list[float], wanted: float) -> None:
    halves = [math.copysign(2.0 ** (math.frexp(term)[1] // 2), term) for term in terms]
    rest = [term / half for term, half in zip(terms, halves)]
    assert dot(PROFILES[text], halves, rest) == wanted


def test_products_are_aligned_before_they_are_normalized() -> None:
    """1.5 * 1.5 counts as 2.25 * 2^0: the term beside it keeps a place more than it would."""
    volta = PROFILES["volta_fp16"]
    assert dot(volta, [1.5, 2.0**-12], [1.5, 2.0**-11]) == 2.25  # below the last place of 2.25
    assert dot(volta, [1.5, 2.0**-12, 2.0**-12], [1.5, 2.0**-11, 2.0**-11]) == 2.25 + 2.0**-22


def test_what_is_promoted_is_added_in_fp32() -> None:
    terms = [2.0**8, 2.0**-6] * 4
    alone = parse_arithmetic("tensor_core{group=1,bits=13,operands=e4m3fn,accumulator=e8m13:rtz}")
    text = "tensor_core{group=1,bits=13,operands=e4m3fn,accumulator=e8m13:rtz,promote=1}"
    ones = [1.0] * len(terms)
    assert dot(alone, terms, ones) == 2.0**10
    assert dot(parse_arithmetic(text), terms, ones) == 2.0**10 + 2.0**-4


def test_a_small_accumulator_swallows_and_chunks_repair_it() -> None:
    ones = [1.0] * 1000
    assert dot(parse_arithmetic("sequential{format=bf16}"), ones, ones) == 256
    assert dot(parse_arithmetic("chunked{size=64,outer=bf16}"), ones, ones) > 950

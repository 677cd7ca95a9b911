"""Matrix products of the kernels, bit for bit against the scalar dot product."""

from __future__ import annotations

import functools
import itertools
from dataclasses import replace

import numpy as np
import pytest

from onnxbf.arithmetic import PROFILES, parse_arithmetic
from onnxbf.custom_ops.cpu_instructions import cpu_dots
from onnxbf.custom_ops.kernels import Kernels, kernels
from onnxbf.custom_ops.library import RandomKey, instruction_sets
from onnxbf.custom_ops.profile_selftest import ON_CPU
from onnxbf.custom_ops.reference_products import product
from onnxbf.errors import UnsupportedError
from tests import operands
from tests.implementations import Floats, same_bits
from tests.stand_in import STAND_IN, stand_ins

SETS = [kernels(name) for name in instruction_sets()]
TEXTS = [
    *PROFILES,
    "sequential{format=bf16}",
    "sequential{format=bf16,rounding=rna,subnormals=flush}",
    "sequential{format=bf16,overflow=saturate}",
    "sequential{format=fp16}",
    "sequential{format=fp16,rounding=rdn}",
    "sequential{format=e4m3,rounding=rup,subnormals=flush}",
    "sequential{format=e4m3fn,overflow=saturate}",
    "sequential{format=e2m1}",
    "sequential{format=e5m2,rounding=rto}",
    "sequential{format=e8m21,rounding=rtz}",
    "chunked{size=4}",
    "chunked{size=3,inner=bf16:rtz,outer=fp16}",
    "sequential{rounding=sr}",
    "sequential{format=e4m3fn,rounding=sr,overflow=saturate,bits=8}",
    "sequential{format=fp16,rounding=sr,subnormals=flush}",
    "chunked{size=3,inner=e8m21:sr,outer=bf16:sr}",
    "tensor_core{group=3,bits=10,operands=fp16,accumulator=fp16,promote=7}",
    "tensor_core{group=1,bits=25,operands=bf16,accumulator=bf16:rup{overflow=saturate}}",
    "tensor_core{group=64,bits=23,operands=tf32:rtz}",
]
SHAPES = [
    (1, 1, 1),
    (5, 2, 3),
    (2, 33, 2),
    (3, 7, 4),
    (2, 68, 1),
    (2, 0, 3),
]  # rows, inner, columns

KEY = {"seed": 0x9E3779B97F4A7C15, "node": 0xC0FFEE, "step": 7}
RANDOM = RandomKey(**KEY)

each_set = pytest.mark.parametrize("used", SETS, ids=instruction_sets())


@functools.cache
def _cases(text: str) -> list[tuple[Floats, Floats, Floats]]:
    """Factors and their product, worked out once for all instruction sets."""
    profile, rng = parse_arithmetic(text), np.random.default_rng(len(text))
    cases = []
    for make in operands.ALL:
        for rows, inner, columns in SHAPES:
            a, b = make(rng, (rows, inner)), make(rng, (inner, columns))
            cases.append((a, b, product(profile, a, b, **KEY)))
    return cases


# Computed before any test changes the register, on which NumPy's results do depend.
UNDISTURBED = {text: _cases(text)[3::6] for text in TEXTS}


@each_set
@pytest.mark.parametrize("text", TEXTS)
def test_every_profile_equals_its_reference(used: Kernels, text: str) -> None:
    for a, b, wanted in _cases(text):
        assert same_bits(used.matmul(a, b, parse_arithmetic(text), key=RANDOM), wanted), (a, b)


@pytest.mark.parametrize("text", TEXTS)
def test_any_shape_any_set_any_threads(text: str) -> None:
    """Beyond one tile, and not whole tiles: each element is what it is alone."""
    profile, rng = parse_arithmetic(text), np.random.default_rng(7)
    for rows, inner, columns in ((130, 65, 70), (13, 1100, 33), (1, 40, 100), (100, 40, 1)):
        a = operands.spread(rng, (rows, inner))
        b = operands.spread(rng, (inner, columns))
        best = SETS[-1].matmul(a, b, profile, key=RANDOM)
        for threads in (2, 3):
            got = SETS[-1].matmul(a, b, profile, key=RANDOM, threads=threads)
            assert same_bits(got, best)
        for used in SETS[1:-1]:
            assert same_bits(used.matmul(a, b, profile, key=RANDOM), best)
        places = zip(rng.integers(0, rows, 3), rng.integers(0, columns, 3))
        for row, column in places:
            one, place = (a[row : row + 1], b[:, column : column + 1]), int(row * columns + column)
            alone = product(profile, *one, **KEY, first=place)
            assert same_bits(alone, best[row : row + 1, column : column + 1])
        if not profile.stochastic:  # there, an element's place counts
            some = SETS[0].matmul(a[-3:], b[:, -3:], profile)
            assert same_bits(some, best[-3:, -3:])


@each_set
@pytest.mark.usefixtures("control_register")
@pytest.mark.parametrize("text", TEXTS)
def test_the_control_register_changes_no_product(used: Kernels, text: str) -> None:
    profile = parse_arithmetic(text)
    for a, b, undisturbed in UNDISTURBED[text]:
        assert same_bits(used.matmul(a, b, profile, key=RANDOM), undisturbed)


@each_set
def test_stochastic_sums_are_right_on_average(used: Kernels) -> None:
    """1000 terms of 2^-9 beside a 1 in bfloat16, whose numbers lie 2^-7 apart: each is drawn."""
    profile, sums = parse_arithmetic("sequential{rounding=sr}"), 2000
    a = np.full((1, 1001), 2.0**-9, np.float32)
    a[0, 0] = 1
    ones = np.ones((1001, sums), np.float32)
    got = used.matmul(a, ones, profile, key=RANDOM)
    exact = 1 + 1000 * 2.0**-9
    # Each step adds 2^-7 or, from 2 on, 2^-6 with probability 1/4 or 1/8: a variance of (2^-9)^2
    # times 3 or 7, so at most 7000 in all.
    deviation = 2.0**-9 * np.sqrt(7000 / sums)
    assert abs(float(got.mean()) - exact) < 5 * deviation
    assert got.std() > 2.0**-7
    nearest = used.matmul(a, ones[:, :1], parse_arithmetic("sequential"))
    assert nearest[0, 0] == 1  # all swallowed


@each_set
def test_keys_and_places_draw_apart(used: Kernels) -> None:
    profile, rng = parse_arithmetic("sequential{rounding=sr}"), np.random.default_rng(5)
    a, b = operands.ordinary(rng, (1, 50)), np.repeat(operands.ordinary(rng, (50, 1)), 40, axis=1)
    found = [
        used.matmul(np.repeat(a, 7, axis=0), b, profile, key=RandomKey(**{**KEY, **change}))
        for change in ({}, {"seed": 1}, {"node": 1}, {"step": 1})
    ]
    assert all(len(np.unique(each)) > 3 for each in found)
    assert all(not same_bits(found[0], other) for other in found[1:])


@pytest.mark.parametrize("name", ON_CPU)
def test_the_cpu_computes(name: str) -> None:
    """Its own instruction, on numbers of all kinds; NaN with its payload, where it has one."""
    rng, profile = np.random.default_rng(3), PROFILES[name]
    probe = np.zeros((16, 2), np.uint16)
    if cpu_dots(profile, probe, probe) is None:
        pytest.skip(f"this CPU has no {ON_CPU[name]}")
    for make in operands.ALL:
        a, b = (make(rng, (64, 50)) for _ in range(2))
        codes = [(side.view(np.uint32) >> 16).astype(np.uint16) for side in (a, b)]
        numbers = [(side.astype(np.uint32) << 16).view(np.float32) for side in codes]
        wanted = cpu_dots(profile, *codes)
        assert wanted is not None
        for used in SETS:
            got = [used.matmul(x[np.newaxis], y[:, np.newaxis], profile) for x, y in zip(*numbers)]
            assert same_bits(np.concatenate(got).ravel(), wanted)


BY_INSTRUCTIONS = [
    *itertools.product(["avx512_bf16", "torch_cpu_bf16"], ["avx512_bf16", STAND_IN]),
    *itertools.product(["amx_bf16"], ["avx512_amx", STAND_IN]),
]


@pytest.mark.parametrize(("text", "name"), BY_INSTRUCTIONS)
def test_the_instruction_and_its_emulation_agree(text: str, name: str) -> None:
    """The kernels that use VDPBF16PS or TDPBF16PS, over many parts of sums; NaN with its payload.

    A function in its place shows on any CPU with AVX-512 that what is around it is right.
    """
    if name not in (*instruction_sets(), *stand_ins()):
        pytest.skip(f"this CPU has no {name}")
    rng, profile = np.random.default_rng(11), parse_arithmetic(text)
    for make in operands.ALL:
        for rows, inner, columns in ((130, 65, 70), (13, 1100, 33), (5, 2500, 3)):
            a, b = make(rng, (rows, inner)), make(rng, (inner, columns))
            emulated = kernels("avx512").matmul(a, b, profile)
            assert same_bits(kernels(name).matmul(a, b, profile), emulated)


def test_the_stand_in_is_found_by_name_alone() -> None:
    assert STAND_IN not in instruction_sets()
    assert [kernels(name).name for name in stand_ins()] == [*stand_ins()]


@pytest.mark.parametrize("shapes", [((15, 2), (15, 2)), ((16, 3), (16, 3)), ((16, 2), (16, 4))])
def test_dots_of_the_cpu_come_in_whole_vectors(shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ValueError, match="not those of dot products"):
        cpu_dots(PROFILES["arm_bf16"], *(np.zeros(shape, np.uint16) for shape in shapes))


def test_matrices_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(4, 5\)"):
        SETS[0].matmul(np.ones((2, 3), np.float32), np.ones((4, 5), np.float32), PROFILES["fp32"])


def test_the_kernels_know_what_they_do_not_have() -> None:
    one = np.ones((1, 1), np.float32)
    unknown = replace(PROFILES["fp32"], name="fp33")
    with pytest.raises(UnsupportedError, match="as fp33: unknown arithmetic 'fp33'"):
        SETS[0].matmul(one, one, unknown)

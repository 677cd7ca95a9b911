"""Matrix products of the kernels, bit for bit against the scalar dot product."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest

from onnxbf.arithmetic import PROFILES, parse_arithmetic
from onnxbf.custom_ops.kernels import Kernels, cpu_dots, kernels
from onnxbf.custom_ops.library import instruction_sets
from onnxbf.custom_ops.reference_products import product
from onnxbf.errors import UnsupportedError
from tests import operands
from tests.implementations import Floats, same_bits

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

each_set = pytest.mark.parametrize("used", SETS, ids=instruction_sets())


@functools.cache
def _cases(text: str) -> list[tuple[Floats, Floats, Floats]]:
    """Factors and their product, worked out once for all instruction sets."""
    profile, rng = parse_arithmetic(text), np.random.default_rng(len(text))
    cases = []
    for make in operands.ALL:
        for rows, inner, columns in SHAPES:
            a, b = make(rng, (rows, inner)), make(rng, (inner, columns))
            cases.append((a, b, product(profile, a, b)))
    return cases


# Computed before any test changes the register, on which NumPy's results do depend.
UNDISTURBED = {text: _cases(text)[3::6] for text in TEXTS}


@each_set
@pytest.mark.parametrize("text", TEXTS)
def test_every_profile_equals_its_reference(used: Kernels, text: str) -> None:
    for a, b, wanted in _cases(text):
        assert same_bits(used.matmul(a, b, parse_arithmetic(text)), wanted), (a, b)


@pytest.mark.parametrize("text", TEXTS)
def test_any_shape_any_set_any_threads(text: str) -> None:
    """Beyond one tile, and not whole tiles: each element is what it is alone."""
    profile, rng = parse_arithmetic(text), np.random.default_rng(7)
    for rows, inner, columns in ((130, 65, 70), (13, 1100, 33), (1, 40, 100), (100, 40, 1)):
        a = operands.spread(rng, (rows, inner))
        b = operands.spread(rng, (inner, columns))
        best = SETS[-1].matmul(a, b, profile)
        for threads in (2, 3):
            assert same_bits(SETS[-1].matmul(a, b, profile, threads=threads), best)
        for used in SETS[1:-1]:
            assert same_bits(used.matmul(a, b, profile), best)
        places = zip(rng.integers(0, rows, 3), rng.integers(0, columns, 3))
        for row, column in places:
            alone = product(profile, a[row : row + 1], b[:, column : column + 1])
            assert same_bits(alone, best[row : row + 1, column : column + 1])
        some = SETS[0].matmul(a[-3:], b[:, -3:], profile)
        assert same_bits(some, best[-3:, -3:])


@each_set
@pytest.mark.usefixtures("control_register")
@pytest.mark.parametrize("text", TEXTS)
def test_the_control_register_changes_no_product(used: Kernels, text: str) -> None:
    profile = parse_arithmetic(text)
    for a, b, undisturbed in UNDISTURBED[text]:
        assert same_bits(used.matmul(a, b, profile), undisturbed)


def test_the_cpu_computes_avx512_bf16() -> None:
    """Its own instruction, on numbers of all kinds; NaN with its payload."""
    rng, profile = np.random.default_rng(3), PROFILES["avx512_bf16"]
    probe = np.zeros((16, 2), np.uint16)
    if cpu_dots(probe, probe) is None:
        pytest.skip("this CPU has no VDPBF16PS")
    for make in operands.ALL:
        a, b = (make(rng, (64, 50)) for _ in range(2))
        codes = [(side.view(np.uint32) >> 16).astype(np.uint16) for side in (a, b)]
        numbers = [(side.astype(np.uint32) << 16).view(np.float32) for side in codes]
        wanted = cpu_dots(*codes)
        assert wanted is not None
        for used in SETS:
            got = [used.matmul(x[np.newaxis], y[:, np.newaxis], profile) for x, y in zip(*numbers)]
            assert same_bits(np.concatenate(got).ravel(), wanted)


@pytest.mark.parametrize("shapes", [((15, 2), (15, 2)), ((16, 3), (16, 3)), ((16, 2), (16, 4))])
def test_dots_of_the_cpu_come_in_whole_vectors(shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ValueError, match="not those of dot products"):
        cpu_dots(*(np.zeros(shape, np.uint16) for shape in shapes))


def test_matrices_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(4, 5\)"):
        SETS[0].matmul(np.ones((2, 3), np.float32), np.ones((4, 5), np.float32), PROFILES["fp32"])


def test_the_kernels_know_what_they_do_not_have() -> None:
    one = np.ones((1, 1), np.float32)
    unknown = replace(PROFILES["fp32"], name="fp33")
    with pytest.raises(UnsupportedError, match="as fp33: unknown arithmetic 'fp33'"):
        SETS[0].matmul(one, one, unknown)

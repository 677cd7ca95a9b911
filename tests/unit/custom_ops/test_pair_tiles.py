"""Products by tiles of bfloat16 pairs, as AMX takes them, have the bits of their emulation."""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from onnxbf.custom_ops.library import instruction_sets
from onnxbf.session import make_session, run
from tests import operands
from tests.implementations import Floats
from tests.other_sets import printed_under
from tests.small_models import model, ours, value
from tests.stand_in import STAND_IN, stand_ins

SIZES = (  # rows, inner, columns: about whole tiles, chunks, pairs and what is packed at a time
    (1, 1, 1), (13, 31, 33), (16, 32, 32), (12, 33, 16), (97, 64, 65), (33, 95, 31), (50, 130, 90),
)  # fmt: skip
BY_TILES = ("avx512_amx", STAND_IN)


def _factors(make: Any, rows: int, inner: int, columns: int) -> Iterator[tuple[Floats, Floats]]:
    """To be rounded; in bfloat16 already; and that but for one."""
    rng = np.random.default_rng(inner)
    a, b = make(rng, (2, rows, inner)), make(rng, (inner, columns))
    yield a, b
    rounded = [(x.view(np.uint32) & 0xFFFF0000).view(np.float32) for x in (a, b)]
    yield rounded[0], rounded[1]
    rounded[0][1, -1, -1], rounded[1][-1, -1] = a[1, -1, -1], b[-1, -1]
    yield rounded[0], rounded[1]


def _product(a: Floats, b: Floats, turned: tuple[int, int], threads: int) -> Floats:
    options = {"arithmetic": "amx_bf16", "transA": turned[0], "transB": turned[1]}
    proto = model(
        [ours("FusedMatMul", ["a", "b"], "y", **options)],
        [value("a", shape=[None] * 3), value("b", shape=[None] * 2)],
        [value("y")],
    )
    if turned[0]:
        a = np.ascontiguousarray(a.swapaxes(1, 2))
    if turned[1]:
        b = np.ascontiguousarray(b.T)
    return run(make_session(proto.SerializeToString(), threads=threads), {"a": a, "b": b})["y"]


def digests() -> list[str]:
    """Of products of all kinds, turned in all ways, NaN with its payload."""
    found = []
    for make, size in itertools.product(operands.ALL, SIZES):
        for a, b in _factors(make, *size):
            for turned in itertools.product((0, 1), repeat=2):
                y = _product(a, b, turned, 1 + sum(turned))
                found.append(hashlib.sha256(y.tobytes()).hexdigest())
    return found


_PRINT = "from tests.unit.custom_ops.test_pair_tiles import digests; print(*digests())"


@functools.cache
def _emulated() -> list[str]:
    return printed_under("avx512", _PRINT)


@pytest.mark.parametrize("instruction_set", BY_TILES)
def test_tiles_have_the_bits_of_their_emulation(instruction_set: str) -> None:
    """The stand-in shows on any CPU with AVX-512 that packing is right."""
    if instruction_set not in (*instruction_sets(), *stand_ins()):
        pytest.skip(f"this CPU has no {instruction_set}")
    got = printed_under(instruction_set, _PRINT)
    assert got == _emulated()
    assert len(set(got)) > len(got) // 8  # turning a factor changes nothing, all else does

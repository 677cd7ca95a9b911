"""Factors that products are told are rounded: the same bits as of those that they look through."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxbf.custom_ops.library import instruction_sets
from onnxbf.custom_ops.reference import Evaluator
from onnxbf.errors import ModelError
from onnxbf.session import make_session, run
from tests.implementations import Floats, same_bits
from tests.other_sets import printed_under
from tests.small_models import check_in_both, model, ours, value

TOLD = {"rounded_a": 1, "rounded_b": 1}
TEXTS = ["avx512_bf16", "amx_bf16", "torch_cpu_bf16", "arm_bf16", "arm_ebf16", "ampere_bf16"]


def _proto(op_type: str, **attributes: Any) -> Any:
    nodes = [ours(op_type, ["a", "b"], "y", **attributes)]
    return model(nodes, [value("a"), value("b")], [value("y")])


def _run(proto: Any, feeds: dict[str, Floats]) -> Floats:
    return run(make_session(proto.SerializeToString()), feeds)["y"]


def _bfloat16(*shape: int) -> Floats:
    """Neighbours are alike in magnitude; all NaNs and subnormal numbers are among them."""
    bits = np.resize(np.arange(2**16, dtype=np.uint32) << 16, shape)
    bits[..., 0] = np.random.default_rng(3).integers(0, 2**16, shape[:-1]) << 16
    return bits.view(np.float32)


SIZES = [
    ((256, 256), (256, 64)),  # all that there are
    ((8, 64, 32), (8, 32, 64)),  # small ones
    ((2, 130, 40), (40, 70)),
    ((3, 7, 9), (3, 9, 5)),  # by twos, none of these stands
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize(("a", "b"), SIZES, ids=str)
def test_products_are_the_same(text: str, a: tuple[int, ...], b: tuple[int, ...]) -> None:
    feeds = {"a": _bfloat16(*a), "b": _bfloat16(*b)}
    feeds["b"] = np.where(np.abs(feeds["b"]) < np.inf, feeds["b"], np.float32(1))  # NaNs of a alone
    for turned in (0, 1):
        if turned:
            feeds["a"] = np.swapaxes(feeds["a"], -1, -2).copy()
        found, wanted = (
            _run(_proto("FusedMatMul", arithmetic=text, transA=turned, **told), feeds)
            for told in (TOLD, {})
        )
        assert same_bits(found, wanted)


@pytest.mark.parametrize(
    "casts",
    [
        {"cast_a": "bf16:rtz{subnormals=flush}"},  # they matter to fp32: kernels look all the same
        {"cast_a": "bf16:rne{overflow=saturate}", "cast_b": "tf32"},
        {"cast_a": "e5m2"},
        {"cast_a": "tf32:rna", "cast_b": "bf16"},
    ],
    ids=str,
)
@pytest.mark.parametrize("op_type", ["MatMul", "Gemm"])
def test_casts_that_may_change_them_do(op_type: str, casts: dict[str, str]) -> None:
    a = _bfloat16(16, 32)
    a.view(np.uint32)[:] &= 0xFFE00000  # of what e5m2 has, most are beyond its range
    a[0, :4] = np.inf, 2.0**-127, 2.0**100, 0
    feeds = {"a": a, "b": np.random.default_rng(0).integers(-8, 8, (32, 16)).astype(np.float32)}
    found = check_in_both(_proto(op_type, arithmetic="fp32", **casts, **TOLD), feeds)
    assert same_bits(found["y"], _run(_proto(op_type, arithmetic="fp32", **casts), feeds))


DIGESTS = """
import hashlib
from onnxbf.session import make_session, run
from tests.unit.custom_ops.test_ort_rounded_factors import SIZES, TOLD, _bfloat16, _proto
for told in ({}, TOLD):
    digest = hashlib.sha256()
    for a, b in SIZES:
        proto = _proto("MatMul", arithmetic="avx512_bf16", **told)
        session = make_session(proto.SerializeToString(), threads=2)
        digest.update(run(session, {"a": _bfloat16(*a), "b": _bfloat16(*b)})["y"].tobytes())
    print(digest.hexdigest())
"""


def test_on_every_instruction_set() -> None:
    digests = [line for name in instruction_sets() for line in printed_under(name, DIGESTS)]
    assert len(digests) == 2 * len(instruction_sets())
    assert len(set(digests)) == 1


@pytest.mark.parametrize("name", ["a", "b"])
@pytest.mark.parametrize("bits", [0x3F800001, 0x3F808000, 0x7F800001])
def test_the_reference_refuses_what_is_not_rounded(name: str, bits: int) -> None:
    feeds = {"a": np.ones((2, 2), np.float32), "b": np.ones((2, 2), np.float32)}
    feeds[name].view(np.uint32)[1, 0] = bits
    proto = _proto("MatMul", arithmetic="avx512_bf16", **{f"rounded_{name}": 1})
    with pytest.raises(ModelError, match=r"make_y.*said to be rounded is not"):
        Evaluator(proto).run(None, feeds)


@pytest.mark.parametrize("op_type", ["MatMul", "FusedMatMul", "Gemm"])
def test_another_value_is_refused(op_type: str) -> None:
    with pytest.raises(ModelError, match="rounded_a"):
        make_session(_proto(op_type, arithmetic="fp32", rounded_a=2).SerializeToString())

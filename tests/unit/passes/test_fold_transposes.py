"""Transpose nodes that products take in: text in, text out, and the same bits."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxbf.passes.fold_transposes import FoldTransposes
from onnxbf.session import make_session, run
from tests.implementations import same_bits
from tests.small_models import rewrite_text

HEAD = '<ir_version: 10, opset_import: ["" : 20, "ai.onnxbf" : 1]>\n'
ATTENTION = """scores (float[B,8,3,4] q, float[B,6,3,4] k) => (float[B,8,3,6] s) {
   query = Transpose <perm = [0, 2, 1, 3]> (q)
   keys = Transpose <perm = [0, 2, 3, 1]> (k)
   turned = ai.onnxbf.MatMul <arithmetic = "avx512_bf16"> (query, keys)
   s = Transpose <perm = [0, 2, 1, 3]> (turned)
}"""


def _fold(text: str) -> tuple[onnx.ModelProto, onnx.ModelProto, bool]:
    return rewrite_text(HEAD + text, FoldTransposes)


def _types(proto: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in proto.graph.node]


def test_operands_and_results_keep_their_bits() -> None:
    before, after, modified = _fold(ATTENTION)
    assert modified
    (product,) = after.graph.node
    orders = {a.name: [*a.ints] for a in product.attribute if a.name.startswith("perm")}
    assert orders == {"perm_a": [0, 2, 1, 3], "perm_b": [0, 2, 3, 1], "perm_y": [0, 2, 1, 3]}
    rng = np.random.default_rng(0)
    shapes = {"q": (5, 8, 3, 4), "k": (5, 6, 3, 4)}
    feeds = {n: rng.normal(size=shape).astype(np.float32) for n, shape in shapes.items()}
    found, wanted = (
        run(make_session(proto.SerializeToString()), feeds)["s"] for proto in (after, before)
    )
    assert same_bits(found, wanted)


def test_what_others_read_is_still_turned() -> None:
    _, after, modified = _fold(
        """scores (float[2,8,3,4] q, float[2,3,4,6] k) => (float[2,3,8,6] s, float[2,3,8,4] query) {
             query = Transpose <perm = [0, 2, 1, 3]> (q)
             s = ai.onnxbf.MatMul <arithmetic = "avx512_bf16"> (query, k)
           }"""
    )
    assert modified
    assert sorted(_types(after)) == ["MatMul", "Transpose"]
    (product,) = (node for node in after.graph.node if node.op_type == "MatMul")
    assert product.input[0] == "q"


@pytest.mark.parametrize(
    "text",
    [
        # The last dimension becomes one of the batch: no numbers side by side are left.
        """f (float[2,8,6,3] q, float[3,8,2,5] k) => (float[2,3,8,5] s) {
             query = Transpose <perm = [0, 3, 1, 2]> (q)
             keys = Transpose <perm = [2, 0, 1, 3]> (k)
             s = MatMul (query, keys)
           }""",
        """f (float[2,8,3,6] q, float[2,8,6,5] k) => (float[5,2,8,3] s) {
             turned = ai.onnxbf.MatMul <arithmetic = "avx512_bf16"> (q, k)
             between = Identity (turned)
             s = Transpose <perm = [3, 0, 1, 2]> (between)
           }""",
        """f (float[8,3,6] q, float[8,6,5] k) => (float[3,5,8] s) {
             turned = ai.onnxbf.MatMul <arithmetic = "avx512_bf16"> (q, k)
             s = Transpose <perm = [1, 2, 0]> (turned)
           }""",
    ],
)
def test_others_stay(text: str) -> None:
    before, after, modified = _fold(text)
    assert not modified
    assert _types(after) == _types(before)

"""Products are told which factors are rounded: text in, text out, and the same bits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest

from onnxbf.passes.mark_rounded import MarkRounded
from onnxbf.session import make_session, run
from tests.implementations import Floats, same_bits
from tests.small_models import attributes_of, check_in_both, rewrite_text

HEAD = '<ir_version: 10, opset_import: ["" : 20, "ai.onnxbf" : 1]>\n'
PROFILE = 'arithmetic = "avx512_bf16"'
BLOCK = f"""block (float[2,8,16] x, float[2,8,16] m, float[16] g, float[16,16] w)
  => (float[16,16] flatp, float[2,8,8] scores, float[16,16] dw, float[2,8,16] last) {{
   r = ai.onnxbf.QuantizeDequantize (x)
   shape = Constant <value_ints = [16, 16]> ()
   flat = Reshape (r, shape)
   flatp = ai.onnxbf.MatMul <{PROFILE}> (flat, w)
   q = ai.onnxbf.MatMulElementwise <{PROFILE},
       program = "Add t0 x0 x1; bf16:rne t0 t0; Relu y0 t0"> (r, w, g)
   k = ai.onnxbf.FusedMatMul <{PROFILE}, alpha = 0.5, cast_y = "bf16:rne"> (m, w)
   scores = ai.onnxbf.FusedMatMul <{PROFILE}, transB = 1> (q, k)
   d = ai.onnxbf.ReluGrad (k, m)
   flatd = Reshape (d, shape)
   dw = ai.onnxbf.Gemm <{PROFILE}, transA = 1> (flat, flatd)
   sum = Add (q, k)
   last = ai.onnxbf.MatMul <{PROFILE}> (sum, w)
}}"""
MARKS = {"flatp": "a", "q": "a", "k": "", "scores": "ab", "dw": "ab", "last": ""}
SPECIALS = [0x7F800001, 0xFFFFFFFF, 0x7FC12345, 0x7F812345, 0x7F800000, 0xFF800000, 0x00000001]
SPECIALS += [0x807FFFFF, 0x00400000, 0x00008000, 0x7F7FFFFF, 0x3F808000, 0x3F818000, 0x80000000]


def _mark(text: str) -> tuple[onnx.ModelProto, onnx.ModelProto, bool]:
    return rewrite_text(HEAD + text, MarkRounded)


def _marks(model: onnx.ModelProto) -> dict[str, str]:
    products = (node for node in model.graph.node if "arithmetic" in attributes_of(node))
    return {
        node.output[0]: "".join(n for n in "ab" if attributes_of(node).get(f"rounded_{n}"))
        for node in products
    }


def _numbers(*shape: int, special: Sequence[int] = ()) -> Floats:
    x = np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)
    x.view(np.uint32).reshape(-1)[5 : 5 + 17 * len(special) : 17] = special  # a row each
    return x


@pytest.mark.parametrize(
    "special", [(), SPECIALS[:4], SPECIALS[4:]], ids=["ordinary", "nan", "rest"]
)
def test_products_are_told_and_give_the_same_bits(special: Sequence[int]) -> None:
    """The reference refuses marks that are not true."""
    before, after, modified = _mark(BLOCK)
    assert modified
    assert _marks(after) == MARKS
    feeds = {"x": _numbers(2, 8, 16, special=special), "m": _numbers(2, 8, 16, special=special)}
    feeds |= {"g": _numbers(16), "w": _numbers(16, 16)}
    found = check_in_both(after, feeds)
    wanted = run(make_session(before.SerializeToString()), feeds)
    assert all(same_bits(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize(
    ("profile", "casts", "marked"),
    [
        ("avx512_bf16", 'cast_a = "tf32"', True),
        ("fp32", 'cast_a = "bf16:rtz"', True),
        ("fp32", 'cast_a = "tf32"', True),
        ("fp32", 'cast_a = "e4m3fn"', False),
        ("fp32", 'cast_b = "bf16"', False),
        ("hopper_fp8", "alpha = 1.0", False),
        ("ampere_bf16", "alpha = 1.0", True),
        ("fp32", "alpha = 1.0", False),
    ],
)
def test_factors_that_a_product_rounds_to_what_they_hold(
    profile: str, casts: str, marked: bool
) -> None:
    text = f"""one (float[2,4] x, float[4,3] w) => (float[2,3] y) {{
       r = ai.onnxbf.QuantizeDequantize (x)
       y = ai.onnxbf.FusedMatMul <arithmetic = "{profile}", {casts}> (r, w)
    }}"""
    _, after, modified = _mark(text)
    assert modified is marked
    assert _marks(after) == {"y": "a" if marked else ""}

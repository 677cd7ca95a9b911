"""Products that finish their results: text in, text out, and the same bits."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxbf.passes.fuse_elementwise import FuseElementwise
from onnxbf.passes.fuse_products import FuseProducts
from onnxbf.protos import from_proto
from onnxbf.report import Report
from onnxbf.session import make_session, run
from tests.implementations import same_bits
from tests.small_models import rewrite_text

HEAD = '<ir_version: 10, opset_import: ["" : 20, "ai.onnxbf" : 1]>\n'
PROFILE = 'arithmetic = "avx512_bf16"'
SAID = 'arithmetic: string = "avx512_bf16"'


def _fuse(text: str) -> tuple[onnx.ModelProto, onnx.ModelProto, bool]:
    return rewrite_text(HEAD + text, FuseProducts)


def _nodes(proto: onnx.ModelProto) -> list[str]:
    for node in proto.graph.node:
        node.ClearField("name")
        del node.metadata_props[:]
    return [onnx.printer.to_text(node).strip() for node in proto.graph.node]


def _assert_same_bits(before: onnx.ModelProto, after: onnx.ModelProto, batch: int = 3) -> None:
    rng = np.random.default_rng(0)
    feeds = {}
    for each in before.graph.input:
        shape = [size.dim_value or batch for size in each.type.tensor_type.shape.dim]
        feeds[each.name] = rng.normal(size=shape).astype(np.float32)
    found, wanted = (
        run(make_session(proto.SerializeToString()), feeds) for proto in (after, before)
    )
    assert found.keys() == wanted.keys()
    assert all(same_bits(found[name], wanted[name]) for name in wanted)


CASES = {
    "a layer": (
        f"""g (float[B,4,8] x, float[8,6] w, float[6] b) => (float[B,4,6] y)
        <float[B,4,6] p, float[B,4,6] s, float[B,4,6] q> {{
          p = ai.onnxbf.MatMul <{PROFILE}> (x, w)
          s = Add (p, b)
          q = ai.onnxbf.QuantizeDequantize (s)
          y = Relu (q)
        }}""",
        f'y = ai.onnxbf.MatMulElementwise <{SAID}, program: string = "Add t0 x0 x1; '
        'bf16:rne t0 t0; Relu y0 t0"> (x, w, b)',
    ),
    "a residual, that the product stands behind": (
        f"""g (float[B,6] x, float[6,6] w, float[6] b, float[B,6] r) => (float[B,6] y)
        <float[B,6] p, float[B,6] s, float[B,6] q, float[B,6] t> {{
          p = ai.onnxbf.FusedMatMul <{PROFILE}, transB = 1, cast_y = "bf16:rne"> (x, w)
          s = Add (b, p)
          q = ai.onnxbf.QuantizeDequantize (s)
          t = Add (r, q)
          y = ai.onnxbf.QuantizeDequantize (t)
        }}""",
        f'y = ai.onnxbf.MatMulElementwise <transB: int = 1, {SAID}, cast_y: string = "bf16:rne", '
        'program: string = "Add t0 x2 x0; bf16:rne t0 t0; Add t0 x1 t0; bf16:rne y0 t0">'
        " (x, w, r, b)",
    ),
    "a Gemm, which adds before it rounds": (
        f"""g (float[B,8] x, float[8,6] w, float[6] b) => (float[B,6] y) <float[B,6] p> {{
          p = ai.onnxbf.Gemm <{PROFILE}, beta = 1.0, cast_y = "bf16:rne"> (x, w, b)
          y = Relu (p)
        }}""",
        f'y = ai.onnxbf.MatMulElementwise <{SAID}, program: string = "Add t0 x0 x1; '
        'bf16:rne t0 t0; Relu y0 t0"> (x, w, b)',
    ),
    "a Gemm that adds nothing": (
        f"""g (float[B,8] x, float[8,6] w) => (float[B,6] y) <float[B,6] p> {{
          p = ai.onnxbf.Gemm <{PROFILE}, alpha = 0.5, cast_y = "bf16:rne"> (x, w)
          y = Relu (p)
        }}""",
        f"y = ai.onnxbf.MatMulElementwise <{SAID}, alpha: float = 0.5, cast_y: string = "
        '"bf16:rne", program: string = "Relu y0 x0"> (x, w)',
    ),
    "a gradient, masked": (
        f"""g (float[B,6] dy, float[8,6] w, float[B,8] z) => (float[B,8] dx) <float[B,8] d> {{
          d = ai.onnxbf.FusedMatMul <{PROFILE}, transB = 1, cast_y = "bf16:rne"> (dy, w)
          dx = ai.onnxbf.ReluGrad (d, z)
        }}""",
        f'dx = ai.onnxbf.MatMulElementwise <{SAID}, transB: int = 1, cast_y: string = "bf16:rne", '
        'program: string = "ReluGrad y0 x0 x1"> (dy, w, z)',
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_a_product_takes_in(name: str) -> None:
    text, wanted = CASES[name]
    before, after, modified = _fuse(text)
    assert modified
    _assert_same_bits(before, after)
    (found,) = _nodes(after)
    assert _unordered(found) == _unordered(wanted)


def _unordered(node: str) -> tuple[str, list[str], str]:
    """A node's text, whatever the order of its attributes."""
    head, _, rest = node.partition("<")
    attributes, _, inputs = rest.rpartition(">")
    return head, sorted(attributes.split(", ")), inputs


def test_of_two_products_the_last_one_takes_in_their_sum() -> None:
    before, after, modified = _fuse(
        f"""g (float[B,6] x, float[6,6] v, float[6,6] w) => (float[B,6] y)
        <float[B,6] p, float[B,6] q, float[B,6] s> {{
          p = ai.onnxbf.MatMul <{PROFILE}> (x, v)
          q = ai.onnxbf.MatMul <{PROFILE}> (x, w)
          s = Add (p, q)
          y = ai.onnxbf.QuantizeDequantize (s)
        }}"""
    )
    assert modified
    _assert_same_bits(before, after)
    assert [node.op_type for node in after.graph.node] == ["MatMul", "MatMulElementwise"]
    assert list(after.graph.node[1].input) == ["x", "w", "p"]


def test_gradients_read_the_result_of_their_activation() -> None:
    before, after, modified = _fuse(
        f"""g (float[B,8] x, float[8,6] w, float[6] b) => (float[B,6] y, float[B,6] dx)
        <float[B,6] p, float[B,6] s, float[B,6] dy> {{
          p = ai.onnxbf.MatMul <{PROFILE}> (x, w)
          s = Add (p, b)
          y = Relu (s)
          dy = Exp (y)
          dx = ai.onnxbf.ReluGrad (dy, s)
        }}"""
    )
    assert modified
    _assert_same_bits(before, after)
    assert [node.op_type for node in after.graph.node] == ["MatMulElementwise", "Exp", "ReluGrad"]
    assert list(after.graph.node[2].input) == ["dy", "y"]


LAYER = "float[B,4] x, float[4,4] w, float[4] b"
LEFT_ALONE = {
    "another reader": f"""g ({LAYER}) => (float[B,4] y, float[B,4] z) <float[B,4] p> {{
        p = ai.onnxbf.MatMul <{PROFILE}> (x, w) y = Add (p, b) z = Exp (p)
    }}""",
    "an output": f"""g ({LAYER}) => (float[B,4] y, float[B,4] p) {{
        p = ai.onnxbf.MatMul <{PROFILE}> (x, w) y = Add (p, b)
    }}""",
    "two results": f"""g ({LAYER}) => (float[B,4] y, float[B,4] z) <float[B,4] p> {{
        p = ai.onnxbf.MatMul <{PROFILE}> (x, w) y = Add (p, b) z = Relu (y)
    }}""",
    "two other tensors": f"""g ({LAYER}, float[B,4] u, float[B,4] v) => (float[B,4] y)
    <float[B,4] p, float[B,4] s> {{
        p = ai.onnxbf.MatMul <{PROFILE}> (x, w) s = Add (p, u) y = Add (s, v)
    }}""",
    "more than it has room for": f"""g ({LAYER}, float s, float t, float u, float v, float z)
    => (float[B,4] y)
    <float[B,4] p, float[B,4] d, float[B,4] e, float[B,4] f, float[B,4] h, float[B,4] i,
     float[B,4] j> {{
        p = ai.onnxbf.MatMul <{PROFILE}> (x, w) d = Add (p, b) e = Add (d, s) f = Add (e, t)
        h = Add (f, u) i = Add (h, v) j = Add (i, z) y = Mul (j, x)
    }}""",
    "a square root, which ONNX Runtime rounds otherwise": f"""g ({LAYER}) => (float[B,4] y)
    <float[B,4] p> {{ p = ai.onnxbf.MatMul <{PROFILE}> (x, w) y = Sqrt (p) }}""",
    "a product of ONNX Runtime": f"""g ({LAYER}) => (float[B,4] y) <float[B,4] p> {{
        p = MatMul (x, w) y = Add (p, b)
    }}""",
    "a result that is turned": f"""g (float[4,4] x, float[4,4] w, float[4] b) => (float[4,4] y)
    <float[4,4] p> {{
        p = ai.onnxbf.MatMul <{PROFILE}, perm_y = [1, 0]> (x, w) y = Add (p, b)
    }}""",
    "steps, which draw random numbers": f"""g ({LAYER}, int64 step) => (float[B,4] y)
    <float[B,4] p> {{ p = ai.onnxbf.MatMul <{PROFILE}> (x, w, step) y = Add (p, b) }}""",
    "a term that is scaled": f"""g ({LAYER}) => (float[B,4] y) <float[B,4] p> {{
        p = ai.onnxbf.Gemm <{PROFILE}, beta = 0.5> (x, w, b) y = Relu (p)
    }}""",
    "a term of one column": f"""g (float[B,4] x, float[4,4] w, float[B,1] b) => (float[B,4] y)
    <float[B,4] p> {{ p = ai.onnxbf.Gemm <{PROFILE}> (x, w, b) y = Relu (p) }}""",
    "a rounding that is observed": f"""g ({LAYER}) => (float[B,4] y, double[7] h)
    <float[B,4] p, float[B,4] s> {{
        p = ai.onnxbf.MatMul <{PROFILE}> (x, w) s = Add (p, b)
        y, h = ai.onnxbf.QuantizeDequantizeObserved (s)
    }}""",
}


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_what_is_left_alone(name: str) -> None:
    before, after, modified = _fuse(LEFT_ALONE[name])
    assert not modified
    assert _nodes(after) == _nodes(before)


def test_what_is_observed_is_fused_as_before() -> None:
    model = from_proto(onnx.parser.parse_model(HEAD + LEFT_ALONE["a rounding that is observed"]))
    FuseProducts(Report("none"))(model)
    FuseElementwise(Report("none"), around_casts=True)(model)
    assert [node.op_type for node in model.graph] == ["MatMul", "ElementwiseObserved"]

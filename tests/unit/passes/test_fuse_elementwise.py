"""Elementwise nodes that become programs: text in, text out; and any graph of them, at random."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxbf.custom_ops.reference import Evaluator
from onnxbf.passes.fuse_elementwise import FuseElementwise
from onnxbf.protos import from_proto, to_proto
from onnxbf.report import Report
from tests.small_models import check_in_both

HEAD = '<ir_version: 10, opset_import: ["" : 20, "ai.onnxbf" : 1]>\n'


def _fuse(text: str, *, around_casts: bool = False) -> tuple[ir.Model, bool]:
    model = from_proto(onnx.parser.parse_model(HEAD + text))
    return model, FuseElementwise(Report("none"), around_casts)(model).modified


def _nodes(text: str, *, around_casts: bool = False) -> list[str]:
    """The nodes after fusing, one line each."""
    model, modified = _fuse(text, around_casts=around_casts)
    assert modified
    proto = to_proto(model)
    onnx.checker.check_model(proto)
    for node in proto.graph.node:
        node.ClearField("name")
        del node.metadata_props[:]
    return [onnx.printer.to_text(node).strip() for node in proto.graph.node]


def test_tensors_of_any_shape_that_go_through_the_same_steps_share_a_node() -> None:
    assert _nodes(
        """update (float[3] w, float[3] g, float[2,2] v, float[2,2] h, float rate)
             => (float[3] w_next, float[2,2] v_next) {
           a = Mul (g, rate)
           w_next = Sub (w, a)
           b = Mul (h, rate)
           v_next = Sub (v, b)
        }"""
    ) == [
        'w_next, v_next = ai.onnxbf.Elementwise <program: string = "Mul t0 x0 s0; Sub y0 x1 t0">'
        " (g, w, h, v, rate)"
    ]


def test_scalars_that_differ_are_operands_of_their_group() -> None:
    assert _nodes(
        """update (float[3] w, float[2] v, float one, float two, float both)
             => (float[3] w_next, float[2] v_next) {
           a = Mul (w, one)
           w_next = Add (both, a)
           b = Mul (v, two)
           v_next = Add (both, b)
        }"""
    ) == [
        'w_next, v_next = ai.onnxbf.Elementwise <program: string = "Mul t0 x0 x1; Add y0 s0 t0">'
        " (w, one, v, two, both)"
    ]


def test_what_waits_for_a_norm_is_computed_after_it() -> None:
    """With all that nobody wants before: the decay of w."""
    assert _nodes(
        """update (float[3] w, float[3] g, float scale, float decay) => (float[3] w_next) {
           a = Mul (g, scale)
           b = Clip (a, decay, scale)
           shrunk = Mul (w, decay)
           norm = ReduceL2 <keepdims: int = 0> (b)
           c = Div (b, norm)
           w_next = Sub (shrunk, c)
        }"""
    ) == [
        'b = ai.onnxbf.Elementwise <program: string = "Mul t0 x0 s0; Max t0 t0 s1; Min y0 t0 s0">'
        " (g, scale, decay)",
        "norm = ReduceL2 <keepdims: int = 0> (b)",
        'w_next = ai.onnxbf.Elementwise <program: string = "Mul t0 x0 s0; Div t1 x1 s1; '
        'Sub y0 t0 t1"> (w, b, decay, norm)',
    ]


@pytest.mark.parametrize(
    "text",
    [
        "g (float[n] x, float[m] y) => (float[k] z) { a = Add (x, y) z = Sqrt (a) }",
        "g (double[2] x, double[2] y) => (double[2] z) { a = Add (x, y) z = Sqrt (a) }",
        "g (float x, float y) => (float z) { a = Add (x, y) z = Sqrt (a) }",
        "g (float[2] x, float[1] y) => (float[2] z) { a = Add (x, y) z = Add (a, y) }",
        "g (float[2] x) => (float[2] z) { a = Exp (x) z = Sqrt (a) }",
        "g (float[2] x) => (float[2] z) { a = Clip (x) b = Max (a, x, x) z = Sum (b, x) }",
    ],
    ids=["symbolic", "double", "scalar", "broadcast", "one_step", "no_steps"],
)
def test_what_is_left_alone(text: str) -> None:
    model, modified = _fuse(text)
    assert not modified
    assert not any(node.domain for node in model.graph)


def test_graphs_with_subgraphs_are_left_alone() -> None:
    text = """g (float[2] x, bool c) => (float[2] z) {
        a = Add (x, x)
        b = Sqrt (a)
        z = If (c) <then_branch = t () => (float[2] p) { p = Neg (b) },
                    else_branch = e () => (float[2] q) { q = Abs (b) }>
    }"""
    assert not _fuse(text)[1]


_LAYER = """g (float[n,4] x, float[4,4] w, float[4,4] v, float[4] b)
  => (float[n,4] y, float[n,4] dx)
  <float[4,4] wq, float[4,4] vq, float[n,4] c, float[n,4] d, float[n,4] e,
   float[n,4] z, float[n,4] g, float[n,4] r, float[n,4] s> {
  wq = ai.onnxbf.QuantizeDequantize (w)
  vq = ai.onnxbf.QuantizeDequantize (v)
  c = MatMul (x, wq)
  d = Add (b, c)
  e = ai.onnxbf.QuantizeDequantize (d)
  z = Relu (e)
  y = MatMul (z, vq)
  g = MatMul (y, wq)
  r = ai.onnxbf.ReluGrad (g, e)
  s = Sum (r, r, x)
  dx = ai.onnxbf.QuantizeDequantize <mantissa_bits: int = 3, exponent_bits: int = 4> (s)
}"""


def test_what_stands_around_roundings() -> None:
    """The rounded weights are one node; e is not kept, for the gradient looks at z as well."""
    assert _nodes(_LAYER, around_casts=True) == [
        'wq, vq = ai.onnxbf.Elementwise <program: string = "bf16:rne y0 x0"> (w, v)',
        "c = MatMul (x, wq)",
        'z = ai.onnxbf.Elementwise <program: string = "Add t0 x1 x0; bf16:rne t0 t0; Relu y0 t0"> '
        "(c, b)",
        "y = MatMul (z, vq)",
        "g = MatMul (y, wq)",
        'dx = ai.onnxbf.Elementwise <program: string = "ReluGrad t0 x0 x1; Add t0 t0 t0; '
        'Add t0 t0 x2; e4m3:rne y0 t0"> (g, z, x)',
    ]


def test_no_program_rounds_stochastically() -> None:
    text = _LAYER.replace(" <mantissa_bits: int = 3, exponent_bits: int = 4>", "")
    change = ("QuantizeDequantize", 'QuantizeDequantize <rounding: string = "sr">')
    assert not _fuse(text.replace(*change), around_casts=True)[1]


def test_a_row_that_is_rounded_is_a_program_of_its_own() -> None:
    """It would be rounded once for each row that it is added to."""
    text = """g (float[n,4] x, float[4] b) => (float[n,4] y)
      <float[4] c, float[4] d, float[n,4] e, float[n,4] f> {
      c = Neg (b)
      d = ai.onnxbf.QuantizeDequantize (c)
      e = Add (d, x)
      f = ai.onnxbf.QuantizeDequantize (e)
      y = Neg (f)
    }"""
    assert _nodes(text, around_casts=True) == [
        'd = ai.onnxbf.Elementwise <program: string = "Neg t0 x0; bf16:rne y0 t0"> (b)',
        'y = ai.onnxbf.Elementwise <program: string = "Add t0 x1 x0; bf16:rne t0 t0; Neg y0 t0"> '
        "(x, d)",
    ]


_OBSERVED_LAYER = """g (float[n,4] x, float[4,4] w, float[4,4] v, float[4] b)
  => (float[n,4] y, float[n,4] dx, double[7] hw, double[7] hv, double[7] hd, double[7] hs)
  <float[4,4] wq, float[4,4] vq, float[n,4] c, float[n,4] d, float[n,4] e,
   float[n,4] z, float[n,4] g, float[n,4] r, float[n,4] s> {
  wq, hw = ai.onnxbf.QuantizeDequantizeObserved (w)
  vq, hv = ai.onnxbf.QuantizeDequantizeObserved (v)
  c = MatMul (x, wq)
  d = Add (b, c)
  e, hd = ai.onnxbf.QuantizeDequantizeObserved (d)
  z = Relu (e)
  y = MatMul (z, vq)
  g = MatMul (y, wq)
  r = ai.onnxbf.ReluGrad (g, e)
  s = Sum (r, r, x)
  dx, hs = ai.onnxbf.QuantizeDequantizeObserved <mantissa_bits: int = 3, exponent_bits: int = 4> (s)
}"""


def test_roundings_tell_what_they_do_from_within_programs() -> None:
    assert _nodes(_OBSERVED_LAYER, around_casts=True) == [
        '"/Elementwise_2/health", wq, vq = ai.onnxbf.ElementwiseObserved '
        '<program: string = "bf16:rne y0 x0"> (w, v)',
        "c = MatMul (x, wq)",
        "hd, z = ai.onnxbf.ElementwiseObserved "
        '<program: string = "Add t0 x1 x0; bf16:rne t0 t0; Relu y0 t0"> (c, b)',
        "y = MatMul (z, vq)",
        "g = MatMul (y, wq)",
        "hs, dx = ai.onnxbf.ElementwiseObserved "
        '<program: string = "ReluGrad t0 x0 x1; Add t0 t0 t0; Add t0 t0 x2; e4m3:rne y0 t0"> '
        "(g, z, x)",
        'hw, hv = Split ("/Elementwise_2/health", "/Elementwise_2/sizes")',
    ]


@pytest.mark.parametrize("rows", [0, 3, 5000])
def test_what_roundings_tell_is_the_same_from_within_programs(rows: int) -> None:
    plain = from_proto(onnx.parser.parse_model(HEAD + _OBSERVED_LAYER))
    fused, _ = _fuse(_OBSERVED_LAYER, around_casts=True)
    generator = np.random.default_rng(0)
    shapes = {"x": (rows, 4), "w": (4, 4), "v": (4, 4), "b": (4,)}
    feeds = {k: generator.normal(size=s).astype(np.float32) for k, s in shapes.items()}
    wanted, got = (check_in_both(to_proto(model), feeds, threads=2) for model in (plain, fused))
    assert wanted.keys() == got.keys()
    assert all(wanted[name].tobytes() == array.tobytes() for name, array in got.items())
    assert got["hd"][0] == 4 * rows and got["hw"][0] == 16


def test_one_rounding_in_place_and_what_the_runtime_computes_otherwise_are_left_alone() -> None:
    text = """g (float[2] x, float[2] u) => (float[2] z, float[2] y) <float[2] a, float[2] b> {
        a = Exp (x)
        y = ai.onnxbf.QuantizeDequantize (a)
        b = Sqrt (u)
        z = ai.onnxbf.QuantizeDequantize (b)
    }"""
    assert not _fuse(text, around_casts=True)[1]


_BINARY, _UNARY = ("Add", "Sub", "Mul", "Div", "Max", "Min"), ("Sqrt", "Neg", "Abs", "Sign", "Relu")


@st.composite
def _graphs(draw: st.DrawFn) -> str:
    """Elementwise nodes over tensors of two shapes and scalars, reductions among them."""
    known = {"float[5]": ["a", "b"], "float[2,3]": ["c", "d"], "float": ["s", "t"]}
    lines = []
    for index in range(draw(st.integers(2, 24))):
        kind, name = draw(st.sampled_from(["float[5]", "float[2,3]", "float"])), f"v{index}"
        tensor = draw(st.sampled_from(known[kind]))
        if kind == "float":
            source = draw(st.sampled_from(known["float[5]"] + known["float[2,3]"]))
            lines.append(f"{name} = ReduceMax <keepdims: int = 0> ({source})")
        elif draw(st.booleans()):
            lines.append(f"{name} = {draw(st.sampled_from(_UNARY))} ({tensor})")
        else:
            other = draw(st.sampled_from(known[kind] + known["float"]))
            pair = draw(st.permutations([tensor, other]))
            lines.append(f"{name} = {draw(st.sampled_from(_BINARY))} ({', '.join(pair)})")
        known[kind].append(name)
    made = {name: kind for kind, names in known.items() for name in names if name[0] == "v"}
    outputs = draw(st.lists(st.sampled_from(sorted(made)), min_size=1, unique=True))
    used = Counter(word.strip("(),") for line in lines for word in line.split()[2:])
    outputs += [name for name in made if not used[name] and name not in outputs]
    given = "float[5] a, float[5] b, float[2,3] c, float[2,3] d, float s, float t"
    results = ", ".join(f"{made[name]} {name}" for name in outputs)
    return f"g ({given}) => ({results}) {{ {' '.join(lines)} }}"


@settings(max_examples=100, deadline=None)
@given(text=_graphs(), seed=st.integers(0, 999))
def test_any_graph_computes_the_same_bits(text: str, seed: int) -> None:
    """Both in ONNX's evaluator; tests/unit/custom_ops/test_elementwise.py judges the kernels."""
    rng = np.random.default_rng(seed)
    plain = onnx.parser.parse_model(HEAD + text)
    fused = to_proto(_fuse(text)[0])
    sizes = {
        value.name: [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for value in plain.graph.input
    }
    feeds = {name: np.asarray(rng.normal(size=s), np.float32) for name, s in sizes.items()}
    with np.errstate(all="ignore"):
        wanted, got = (Evaluator(proto).run(None, feeds) for proto in (plain, fused))
    for array, expected in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(array, expected)  # NaN equals NaN, and 0 -0

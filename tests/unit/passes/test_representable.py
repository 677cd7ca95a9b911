"""Representability, judged by trying every number of every format."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxbf.encoding import code_type, decode
from onnxbf.formats import Cast, Overflow, Specials, Subnormals, parse_cast
from onnxbf.passes.pipeline import rewrite
from onnxbf.passes.representable import Analysis, leaves_unchanged, node_cast
from onnxbf.recipe import load_recipe
from onnxbf.rounding import round_array

_FORMATS = ("bf16", "fp16", "e5m2", "e4m3", "e4m3fn", "e3m4", "e3m4fn", "e3m2", "e2m3", "e2m1")
_OPTIONS = ("", "{subnormals=flush}", "{overflow=saturate}")
_CASTS = [parse_cast(name + option) for name in _FORMATS for option in _OPTIONS]


def _results(cast: Cast) -> np.ndarray:
    """Everything but NaN that a cast can give."""
    fmt = cast.format
    values = decode(np.arange(2**fmt.bits).astype(code_type(fmt)), fmt)
    if cast.overflow is Overflow.SATURATE or fmt.specials is not Specials.IEEE:
        values = values[np.isfinite(values)]
    if cast.subnormals is Subnormals.FLUSH:
        values = values[(values == 0) | (np.abs(values) >= fmt.smallest_normal)]
    return values[~np.isnan(values)]


@pytest.mark.parametrize("earlier", _CASTS, ids=str)
def test_leaves_unchanged_agrees_with_every_number(earlier: Cast) -> None:
    results = _results(earlier)
    for cast in _CASTS:
        unchanged = np.array_equal(
            round_array(results, cast).view(np.uint32), results.view(np.uint32)
        )
        assert leaves_unchanged(cast, earlier) == unchanged, f"{cast} after {earlier}"


def test_casts_are_told_apart() -> None:
    pairs = list(itertools.product(_CASTS, _CASTS))
    found = {leaves_unchanged(a, b) for a, b in pairs}
    assert found == {True, False}


def _kept(text: str) -> set[str]:
    """Rewrite under bf16; returns the tensors that are rounded."""
    model = ir.from_proto(onnx.parser.parse_model(text))
    report = rewrite(model, load_recipe("bf16"))
    return {change.tensor for change in report.changes}


_HEAD = '<ir_version: 8, opset_import: ["" : 17]> g (float[2,2] x, int64[1] i) => (float[N,M] y)'


@pytest.mark.parametrize(
    "moves",
    [
        "m = Relu (a)",
        "m = Transpose (a)",
        "m = Gather (a, i)",
        "m = Concat <axis = 0> (a, a)",
        "m = Slice (a, i, i)",
        "m = Neg (a)",
        "t = Abs (a)  m = Identity (t)",
        "m = Max (a, a)",
        "pads = Constant <value_ints = [0,0,1,1]> ()  m = Pad (a, pads)",
        "m = Dropout (a)",
        "f = Constant <value_floats = [1.0, 1.0]> ()  n = Constant <value = float[0] {}> ()"
        "  m = Resize <mode = 'nearest'> (a, n, f)".replace("'", '"'),
        "lo = Constant <value_float = 0.5> ()  m = Clip (a, lo)",
        "m = Sign (a)",
        "b = Greater (a, a)  m = Cast <to = 1> (b)",
        "m = MaxPoolGrad <kernel_shape = [2,2], strides = [2,2]> (a, i)",
        "m = MaxPoolGrad <kernel_shape = [2,1], strides = [3,1], dilations = [2,5]> (a, i)",
    ],
)
def test_moved_values_are_not_rounded_again(moves: str) -> None:
    kept = _kept(f"{_HEAD} {{ a = MatMul (x, x)  {moves}  y = MatMul (m, m) }}")
    assert kept == {"x", "a", "y_fp32"} or kept == {"x", "a", "y"}


@pytest.mark.parametrize(
    "computes",
    [
        "m = Add (a, a)",
        "m = Sigmoid (a)",
        "m = LeakyRelu (a)",
        "m = MaxPoolGrad <kernel_shape = [2,2], strides = [2,1]> (a, i)",
        "m = MaxPoolGrad <kernel_shape = [2,2], strides = [2,2], dilations = [1,2]> (a, i)",
        "m = MaxPoolGrad <kernel_shape = [2,2]> (a, i)",
        "m = Concat <axis = 0> (a, x)",
        "p = Constant <value_ints = [0,0,1,1]> ()  v = Constant <value_float = 0.1> ()"
        "  m = Pad (a, p, v)",
        "r = Constant <value_float = 0.5> ()  t = Constant <value = bool {1}> ()"
        "  m = Dropout (a, r, t)",
        "m = ScatterElements <reduction = 'add'> (a, j, a)".replace("'", '"').replace("j", "j"),
    ],
)
def test_computed_values_are_rounded(computes: str) -> None:
    head = _HEAD.replace("int64[1] i", "int64[1] i, int64[2,2] j")
    kept = _kept(f"{head} {{ a = MatMul (x, x)  {computes}  y = MatMul (m, m) }}")
    assert "m" in kept


def test_limits_are_rounded_so_that_what_they_limit_is_not() -> None:
    clip = "lo = Constant <value_float = 0.1> ()  m = Clip (a, lo)"
    kept = _kept(f"{_HEAD} {{ a = MatMul (x, x)  {clip}  y = MatMul (m, m) }}")
    assert "lo" in kept and "m" not in kept


def test_a_value_cast_up_from_bfloat16_needs_no_rounding() -> None:
    assert "f" not in _kept(
        f"{_HEAD} {{ h = Cast <to = 16> (x)  f = Cast <to = 1> (h)  y = MatMul (f, f) }}"
    )


def test_branches_and_loops() -> None:
    kept = _kept(
        """<ir_version: 8, opset_import: ["" : 17]>
        g (float[2,2] x, bool c, int64 n) => (float[2,2] y, float[2,2] z) {
          a = MatMul (x, x)
          both = If (c) < then_branch = t () => (float[2,2] p) { p = Relu (a) },
                          else_branch = e () => (float[2,2] q) { q = Neg (a) } >
          y = MatMul (both, both)
          one = If (c) < then_branch = t2 () => (float[2,2] r) { r = Relu (a) },
                         else_branch = e2 () => (float[2,2] s) { s = Sigmoid (a) } >
          loop, scans = Loop (n, c, a) < body = b (int64 i, bool k, float[2,2] st)
                                 => (bool ko, float[2,2] nx, float[2,2] sc) {
             ko = Identity (k)  nx = Neg (st)  sc = Relu (a) } >
          last = MatMul (one, loop)
          z = MatMul (last, scans)
        }"""
    )
    assert "one" in kept and "loop" in kept
    assert "both" not in kept and "scans" not in kept


def test_the_analysis_reports_every_quantize_node_once() -> None:
    model = ir.from_proto(
        onnx.parser.parse_model(
            """<ir_version: 8, opset_import: ["" : 17, "ai.onnxbf" : 1]>
            g (float[2] x) => (float[2] y) {
              a = ai.onnxbf.QuantizeDequantize (x)
              y = ai.onnxbf.QuantizeDequantize <mantissa_bits = 10> (a)
            }"""
        )
    )
    seen: list[bool] = []
    casts = frozenset(cast for node in model.graph if (cast := node_cast(node)))
    Analysis(model, casts, lambda _, nothing: seen.append(nothing)).run()
    assert seen == [False, True]

"""Normalizations in several nodes: which are found, and that nothing within them is rounded."""

from __future__ import annotations

import onnx
import pytest

from onnxbf.passes.pipeline import convert
from onnxbf.passes.written_norms import norm_nodes
from onnxbf.protos import from_proto

_HEAD = """<ir_version: 9, opset_import: ["" : 18]>
g (float[2,3,4] x, float[2,3,4] other) => (float[N,M,K] y)
<float[4] scale = {1,2,3,4.1}, float[4] bias = {1,2,3,4.1}, float[1] eps = {0.00001},
 float[1] two = {2}, float[1] one = {1}, int64[1] last = {-1}, float[3,1] channel = {1,2,3.1},
 float[12] ones = {1,1,1,1,1,1,1,1,1,1,1,1}, int64[3] rows = {2,1,12}, int64[3] whole = {2,3,4}>
{
"""

RMS = """
  [square] s = Pow (x, two)
  [mean] m = ReduceMean (s, last)
  [plus] p = Add (m, eps)
  [root] r = Sqrt (p)
  [inverse] i = Reciprocal (r)
  [product] n = Mul (x, i)
  [scaled] y = Mul (scale, n)
"""
LAYER = """
  [average] a = ReduceMean (x, last)
  [center] c = Sub (x, a)
  [square] s = Mul (c, c)
  [mean] m = ReduceMean (s, last)
  [plus] p = Add (eps, m)
  [root] r = Sqrt (p)
  [quotient] n = Div (c, r)
  [scaled] z = Mul (n, scale)
  [moved] y = Add (z, bias)
"""
INVERSE = RMS.replace("Reciprocal (r)", "Div (one, r)").replace("[scaled] y", "[scaled] z") + (
    "  [elsewhere] y = Add (z, other)\n"
)
GROUP = """
  [flat] f = Reshape (x, rows)
  [inner] l = LayerNormalization (f, ones)
  [back] n = Reshape (l, whole)
  [scaled] y = Mul (n, channel)
"""
FOUND = {"rms": RMS, "layer": LAYER, "inverse": INVERSE, "group": GROUP}

OTHERS = {
    "deviation": RMS.replace("Mul (x, i)", "Mul (other, i)"),
    "no mean": RMS.replace("ReduceMean (s, last)", "ReduceSum (s, last)"),
    "no eps": RMS.replace("Add (m, eps)", "Add (m, other)"),
    "cube": RMS.replace("Pow (x, two)", "Pow (x, one)"),
    "no parameter": GROUP.replace("channel", "other"),
}


def _model(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(f"{_HEAD}{text}}}")


@pytest.mark.parametrize("name", FOUND)
def test_norms_are_found_whole(name: str) -> None:
    model = from_proto(_model(FOUND[name]))
    outside = {"elsewhere", "flat"}
    assert norm_nodes(model) == {node.name for node in model.graph} - outside


@pytest.mark.parametrize("name", OTHERS)
def test_what_only_looks_like_one_is_none(name: str) -> None:
    assert norm_nodes(from_proto(_model(OTHERS[name]))) == frozenset()


@pytest.mark.parametrize("name", FOUND)
def test_only_what_goes_in_is_rounded(name: str) -> None:
    _, report = convert(_model(FOUND[name]))
    expected = {"x", "z", "other"} if name == "inverse" else {"x"}
    assert {change.tensor for change in report.changes} == expected
    _, report = convert(_model(FOUND[name]), "bf16-gemm")
    assert report.changes == []


@pytest.mark.parametrize("name", OTHERS)
def test_in_others_all_is(name: str) -> None:
    _, report = convert(_model(OTHERS[name]))
    assert {"n", "l"} & {change.tensor for change in report.changes}

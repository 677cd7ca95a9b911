"""Roundings that products take in become nodes again: text in, text out, and the same bits."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxbf.graph import ROLE_KEY
from onnxbf.passes.expose_roundings import ExposeRoundings
from onnxbf.passes.pipeline import convert
from onnxbf.protos import from_proto, to_proto
from onnxbf.report import Report
from onnxbf.session import make_session, run
from tests.small_models import to_text

REPORT = Report("none")

HIDDEN = """<
   ir_version: 10,
   opset_import: ["" : 20, "ai.onnxbf" : 1]
>
g (float[2,2] x, float[2,2] w) => (float[2,2] y, float[2,2] z) {
   [first] h = ai.onnxbf.MatMul <arithmetic: string = "exact", cast_a: string = "e4m3fn:rne", cast_y: string = "bf16:rne"> (x, w)
   [second] y = ai.onnxbf.MatMul <arithmetic: string = "arm_bf16"> (x, h)
   [third] z = ai.onnxbf.MatMul <arithmetic: string = "exact", cast_a: string = "e4m3fn:rne", cast_b: string = "bf16:rne"> (x, w)
}"""  # noqa: E501

EXPOSED = """<
   ir_version: 10,
   opset_import: ["" : 20, "ai.onnxbf" : 1]
>
g (float[2,2] x, float[2,2] w) => (float[2,2] y, float[2,2] z) {
   ["first/cast_a"] "first/cast_a/rounded" = ai.onnxbf.QuantizeDequantize <exponent_bits: int = 4, mantissa_bits: int = 3, specials: string = "nan"> (x)
   [first] "first/result" = ai.onnxbf.MatMul <arithmetic: string = "exact", cast_a: string = "e4m3fn:rne"> ("first/cast_a/rounded", w)
   ["first/cast_y"] h = ai.onnxbf.QuantizeDequantize ("first/result")
   ["second/operand_a"] "second/operand_a/rounded" = ai.onnxbf.QuantizeDequantize (x)
   ["second/operand_b"] "second/operand_b/rounded" = ai.onnxbf.QuantizeDequantize (h)
   [second] y = ai.onnxbf.MatMul <arithmetic: string = "arm_bf16"> ("second/operand_a/rounded", "second/operand_b/rounded")
   ["third/cast_b"] "third/cast_b/rounded" = ai.onnxbf.QuantizeDequantize (w)
   [third] z = ai.onnxbf.MatMul <arithmetic: string = "exact", cast_a: string = "e4m3fn:rne", cast_b: string = "bf16:rne"> ("first/cast_a/rounded", "third/cast_b/rounded")
}"""  # noqa: E501

NETWORK = """<ir_version: 10, opset_import: ["" : 20]>
g (float[2,6,9,9] x, float[8,3,3,3] w, float[8] b, float[72,5] v) => (float[2,5] y) {
  [conv] c = Conv <group = 2, strides = [3, 3], pads = [1, 1, 1, 1]> (x, w, b)
  [relu] r = Relu (c)
  [mean] m = ReduceMean <keepdims = 1> (r)
  [less] d = Sub (r, m)
  [flat] f = Flatten (d)
  [product] p = MatMul (f, v)
  [last] y = Softmax (p)
}"""


def _model(text: str) -> ir.Model:
    return from_proto(onnx.parser.parse_model(text))


def testto_text() -> None:
    model = _model(HIDDEN)
    assert ExposeRoundings(REPORT)(model).modified
    assert to_text(model) == EXPOSED
    roles = [node.metadata_props.get(ROLE_KEY) for node in model.graph]
    assert roles == ["inputs", None, "outputs", "inputs", "inputs", None, "inputs", None]


def test_nothing_to_expose() -> None:
    text = """<ir_version: 10, opset_import: ["" : 20, "ai.onnxbf" : 1]>
    g (float[2,2] x) => (float[2,2] y) {
      h = ai.onnxbf.MatMul <arithmetic: string = "exact"> (x, x)
      y = MatMul (h, x)
    }"""
    model = _model(text)
    assert not ExposeRoundings(REPORT)(model).modified


@pytest.mark.parametrize("recipe", ["avx512-bf16", "bf16-accumulate", "fp8-chunked", "hopper"])
def test_the_same_bits(recipe: str) -> None:
    converted, _ = convert(onnx.parser.parse_model(NETWORK), recipe)
    model = from_proto(converted)
    assert ExposeRoundings(REPORT)(model).modified
    rng = np.random.default_rng(0)
    shapes = {"x": (2, 6, 9, 9), "w": (8, 3, 3, 3), "b": (8,), "v": (72, 5)}
    feeds = {}
    for name, shape in shapes.items():
        numbers = rng.standard_normal(shape) * 10.0 ** rng.uniform(-4, 1.5, shape)
        numbers.flat[::7] = rng.choice([0.0, -0.0, 1e-42, 3e38], numbers.flat[::7].size)
        feeds[name] = numbers.astype(np.float32)
    results = []
    for proto in (converted, to_proto(model)):
        results.append(run(make_session(proto.SerializeToString(), threads=1), feeds)["y"])
    assert results[0].tobytes() == results[1].tobytes()

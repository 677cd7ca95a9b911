"""Models in float64 become models in float32; what only computes in float64 in between stays."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from onnxbf.passes.narrow_doubles import NarrowDoubles, narrowed
from onnxbf.protos import from_proto, to_proto
from onnxbf.report import Report

_WHOLE = """<ir_version: 8, opset_import: ["" : 17]>
g (double[N,2] x, bool on) => (double[N,2] y) <double[2] w = {0.1, -1e38}, double tiny = {1e-300}>
{
  shape = Shape (x)
  ones = ConstantOfShape <value = double[1] {1.5}> (shape)
  cast = Cast <to = 11> (ones)
  chosen = If (on) <
    then_branch = then () => (double[N,2] t) { t = Mul (cast, w) },
    else_branch = else () => (double[N,2] e) {
      c = Constant <value = double {2}> ()
      e = Mul (c, cast)
    }
  >
  sum = Add (x, chosen)
  y = Div (sum, tiny)
}"""


def _narrow(text: str) -> tuple[ir.Model, ir.Model, Report]:
    model = from_proto(onnx.parser.parse_model(text))
    made, report = model.clone(), Report("none")
    NarrowDoubles(report)(made)
    return model, made, report


def test_a_model_in_float64_is_in_float32_throughout_and_finite() -> None:
    model, made, report = _narrow(_WHOLE)
    proto = to_proto(made)
    onnx.checker.check_model(proto, full_check=True)
    assert "double" not in onnx.printer.to_text(proto).lower()
    assert report.warnings == ["The model is in float64 ('x', 'y', 'w'): it is trained in float32."]
    assert model.graph.inputs[0].dtype is ir.DataType.DOUBLE  # a clone shares nothing with it
    for tensor in proto.graph.initializer:
        assert np.isfinite(onnx.numpy_helper.to_array(tensor)).all()
    x = np.zeros((1, 2), np.float32)
    for on in (True, False):
        with np.errstate(over="ignore"):
            (y,) = ReferenceEvaluator(proto).run(None, {"x": x, "on": np.array(on)})
        assert y.dtype == np.float32


def test_float64_between_float32_tensors_stays() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[N] x) => (float[N] y) <double half = {0.5}> {
      wide = Cast <to = 11> (x)
      product = Mul (wide, half)
      y = Cast <to = 1> (product)
    }"""
    _, made, report = _narrow(text)
    assert not report.warnings
    assert made.graph.initializers["half"].dtype is ir.DataType.DOUBLE


def test_numbers_stay_finite_and_other_than_zero() -> None:
    limits = np.finfo(np.float32)
    wide = np.array([0.1, 1e300, -1e300, 1e-300, -1e-300, 0.0, -np.inf, np.nan])
    expected = [
        np.float32(0.1),
        limits.max,
        limits.min,
        limits.tiny,
        -limits.tiny,
        0,
        -np.inf,
        np.nan,
    ]
    np.testing.assert_array_equal(narrowed(wide), np.array(expected, np.float32))

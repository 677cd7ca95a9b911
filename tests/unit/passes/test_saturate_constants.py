"""Mask constants: a network with a mask of finfo(float32).min must not become NaN in bfloat16."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from onnxbf.formats import BFLOAT16, FLOAT16
from onnxbf.passes.pipeline import convert

_MASKED = """<ir_version: 8, opset_import: ["" : 17]>
masked (float[1,2] x, float[1,2] keep) => (float[1,2] y)
<float one = {{1}}, float low = {{{low}}}> {{
  drop = Sub (one, keep)
  mask = Mul (drop, low)
  sum = Add (x, mask)
  y = Softmax (sum)
}}"""


def _constant(model: onnx.ModelProto, name: str) -> float:
    (found,) = (t for t in model.graph.initializer if t.name == name)
    return float(onnx.numpy_helper.to_array(found))


@pytest.mark.parametrize(
    ("recipe", "largest"), [("bf16", BFLOAT16.max), ("fp8", BFLOAT16.max), ("fp16", FLOAT16.max)]
)
def test_a_limit_of_float32_becomes_the_limit_of_the_format(recipe: str, largest: float) -> None:
    model = onnx.parser.parse_model(_MASKED.format(low="-3.4028235e38"))
    converted, report = convert(model, recipe)
    assert _constant(converted, "low") == -largest
    assert report.notes[0].endswith("low.")


def test_numbers_within_the_range_and_infinities_stay() -> None:
    for text, value in (("-1e38", np.float32(-1e38)), ("-inf", -np.inf)):
        converted, _ = convert(onnx.parser.parse_model(_MASKED.format(low=text)))
        assert _constant(converted, "low") == value


def test_constant_nodes_are_seen_and_none_changes_nothing() -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] y) {
          low = Constant <value_float = -3.4028235e38> ()
          positive = Greater (x, x)
          y = Where (positive, x, low)
        }"""
    )
    converted, _ = convert(model)
    (limited,) = ReferenceEvaluator(converted).run(None, {"x": np.full(2, -np.inf, np.float32)})
    assert limited[0] == np.float32(-BFLOAT16.max)
    unchanged, report = convert(model, "none")
    assert report.notes == []
    (lowest,) = ReferenceEvaluator(unchanged).run(None, {"x": np.full(2, -np.inf, np.float32)})
    assert lowest[0] == np.finfo(np.float32).min

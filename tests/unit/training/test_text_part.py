"""Text is computed with apart: both parts together give what the model gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from onnxbf.errors import UnsupportedError
from onnxbf.protos import from_proto, to_proto
from onnxbf.session import make_session, run
from onnxbf.training.text_part import TextPart, has_text

# Two texts, joined before they are looked up; what is looked up is read twice; a branch reads it.
_MODEL = """<ir_version: 8, opset_import: ["" : 17, "ai.onnx.ml" : 3]>
g (string[N] first, string[N] second, float[N,2] x, bool on) => (float[N,2] y)
  <float[3,2] table = {1, 2, 3, 4, 5, 6}, int64[2] wide = {-1, 2}>
{
  both = Concat <axis = 0> (first, second)
  ids = ai.onnx.ml.LabelEncoder <keys_strings = ["a", "b"], values_int64s = [1, 2],
                                 default_int64 = 0> (both)
  numbers = Cast <to = 1> (ids)
  halves = Reshape (numbers, wide)
  rows = Gather <axis = 0> (table, ids)
  sum = ReduceSum <keepdims = 1> (rows)
  z = Mul (x, sum)
  y = If (on) <
    then_branch = then () => (float[N,2] t) { t = Add (z, halves) },
    else_branch = else () => (float[N,2] e) { e = Identity (z) }
  >
}"""


def _batch() -> dict[str, Any]:
    x = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
    first, second = np.array(["a", "?", "b"]), np.array(["b", "b", "a"])
    return {"first": first, "second": second, "x": x, "on": np.array(True)}


def test_both_parts_together_are_the_model() -> None:
    proto = onnx.parser.parse_model(_MODEL)
    expected = run(make_session(proto.SerializeToString()), _batch())
    model = from_proto(proto)
    assert has_text(model)
    model.graph.inputs.append(model.graph.initializers.pop("table"))  # as a parameter is
    model.graph.inputs[-1].const_value = None
    part = TextPart(model)
    assert [value.name for value in model.graph.inputs] == ["x", "on", "table", "ids", "halves"]
    assert {node.op_type for node in model.graph} == {"Gather", "ReduceSum", "Mul", "If"}
    assert not has_text(model)
    table = np.arange(1, 7, dtype=np.float32).reshape(3, 2)
    found = run(
        make_session(to_proto(model).SerializeToString()), part({**_batch(), "table": table})
    )
    np.testing.assert_array_equal(found["y"], expected["y"])


def test_text_chosen_by_other_inputs_is_refused() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17, "ai.onnx.ml" : 3]>
    g (string[N] words, int64[M] which) => (int64[M] ids)
    {
      [pick] chosen = Gather <axis = 0> (words, which)
      ids = ai.onnx.ml.LabelEncoder <keys_strings = ["a"], values_int64s = [1]> (chosen)
    }"""
    with pytest.raises(UnsupportedError, match="Gather node 'pick' reads text, 'words', and what"):
        TextPart(from_proto(onnx.parser.parse_model(text)))

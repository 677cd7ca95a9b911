"""Inputs that become constants: a model then computes what it computes with them as feeds."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from onnxbf.errors import OnnxbfError
from onnxbf.passes.fix_inputs import FixInputs, parse_inputs
from onnxbf.protos import from_proto, to_proto
from onnxbf.report import Report

_MODEL = """<ir_version: 8, opset_import: ["" : 13]>
g (float[N,3] x, float[2,N,3] state, float[1,3] bias, float[M] free, int64 count, bool on,
   string word) => (float[N,3] y, string told)
{
  a = ReduceSum <keepdims = 0> (state, axis)
  b = Add (x, bias)
  c = Add (a, b)
  f = ReduceSum <keepdims = 0> (free)
  d = Add (c, f)
  n = Cast <to = 1> (count)
  e = Mul (d, n)
  y = If (on) <
    then_branch = then () => (float[N,3] t) { t = Identity (e) },
    else_branch = else () => (float[N,3] t2) { t2 = Add (e, b) }
  >
  told = Identity (word)
}"""
_MODEL = _MODEL.replace(")\n{", ") <int64[1] axis = {0}>\n{", 1)
X = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
FEEDS: dict[str, Any] = {
    "x": X,
    "state": np.full((2, 4, 3), 0.25, np.float32),
    "bias": np.array([[1, 2, 3.5]], np.float32),
    "free": np.array([1, -2], np.float32),
    "count": np.array(3),
    "on": np.array(True),
    "word": np.array("red"),
}
GIVEN = {
    "state": "0.25",
    "bias": "[[1, 2, 3.5]]",
    "free": "[1, -2]",
    "count": "3",
    "on": "true",
    "word": "red",
}


def _fixed(**given: str) -> onnx.ModelProto:
    model = from_proto(onnx.parser.parse_model(_MODEL))
    FixInputs(Report("none"), given)(model)
    return to_proto(model)


@pytest.mark.parametrize("names", [*([name] for name in GIVEN), [*GIVEN]])
def test_constants_take_the_place_of_feeds(names: list[str]) -> None:
    fixed = _fixed(**{name: GIVEN[name] for name in names})
    assert [value.name for value in fixed.graph.input] == [n for n in FEEDS if n not in names]
    onnx.checker.check_model(fixed, full_check=True)
    feeds = {name: array for name, array in FEEDS.items() if name not in names}
    expected = ReferenceEvaluator(onnx.parser.parse_model(_MODEL)).run(None, FEEDS)
    for wanted, found in zip(expected, ReferenceEvaluator(fixed).run(None, feeds)):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"on": "1"}, "expected true or false"),
        ({"count": "3.5"}, "expected whole numbers"),
        ({"count": "99999999999999999999"}, "expected whole numbers"),
        ({"state": "red"}, "expected numbers"),
        ({"state": "true"}, "expected numbers"),
        ({"word": "3"}, "expected text"),
        ({"bias": "[1, 2]"}, "has shape [1,3], but is given (2,)"),
        ({"bias": "[[1, 2], [3]]"}, "expected numbers"),
        ({"free": "0"}, "no other input has a size 'M'"),
        ({"counts": "1"}, "did you mean 'count'?"),
    ],
)
def test_what_an_input_cannot_be_is_refused(given: dict[str, str], told: str) -> None:
    with pytest.raises(OnnxbfError) as caught:
        _fixed(**given)
    assert told in str(caught.value)


def test_texts_name_an_input_and_its_value() -> None:
    assert parse_inputs(["a=1", "b:0=x=y"]) == {"a": "1", "b:0": "x=y"}
    for texts, told in ((["a"], "expected name=value"), (["a=1", "a=2"], "given twice")):
        with pytest.raises(OnnxbfError, match=told):
            parse_inputs(texts)

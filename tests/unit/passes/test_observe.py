"""Graphs that tell what their roundings and updates do: text in, text out."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest

from onnxbf.errors import UnsupportedError
from onnxbf.formats import parse_cast
from onnxbf.graph import ROLE_KEY
from onnxbf.passes.observe_roundings import ObserveRoundings
from onnxbf.passes.observe_updates import ObserveUpdates
from onnxbf.passes.pipeline import convert
from onnxbf.protos import from_proto
from onnxbf.report import Report
from tests.small_models import to_text

REPORT = Report("none")


def _model(text: str) -> ir.Model:
    return from_proto(onnx.parser.parse_model(text))


ROUNDED = """<
   ir_version: 10,
   opset_import: ["" : 20, "ai.onnxbf" : 1]
>
g (float[2,2] x, int64 step) => (float[2,2] y) {
   [first] a = ai.onnxbf.QuantizeDequantize <rounding: string = "sr"> (x, step)
   [product] b = MatMul (a, a)
   [second] y = ai.onnxbf.QuantizeDequantize <exponent_bits: int = 5, mantissa_bits: int = 10> (b)
}"""

OBSERVED = """<
   ir_version: 10,
   opset_import: ["" : 20, "ai.onnxbf" : 1]
>
g (float[2,2] x, int64 step) => (float[2,2] y, double[7] "health.roundings/first", double[7] "health.roundings/second") {
   [first] a, "health.roundings/first" = ai.onnxbf.QuantizeDequantizeObserved <rounding: string = "sr"> (x, step)
   [product] b = MatMul (a, a)
   [second] y, "health.roundings/second" = ai.onnxbf.QuantizeDequantizeObserved <exponent_bits: int = 5, mantissa_bits: int = 10> (b)
}"""  # noqa: E501

UPDATE = """<
   ir_version: 10,
   opset_import: ["" : 20]
>
update (float[3] w, float[3] "w.gradient", float[2] b, float[2] "b.gradient", float[2] "b.momentum", float rate)
   => (float[3] "w.next", float[2] "b.next", float[2] "b.momentum.next") {
   [w_step] "w.update" = Mul ("w.gradient", rate)
   [w_next] "w.next" = Sub (w, "w.update")
   [slot] "b.momentum.next" = Add ("b.momentum", "b.gradient")
   [b_step] "b.update" = Mul ("b.momentum.next", rate)
   [b_next] "b.next" = Sub (b, "b.update")
}"""  # noqa: E501

OBSERVED_UPDATE = """<
   ir_version: 10,
   opset_import: ["" : 20, "ai.onnxbf" : 1]
>
update (float[3] w, float[3] "w.gradient", float[2] b, float[2] "b.gradient", float[2] "b.momentum", float rate) => (float[3] "w.next", float[2] "b.next", float[2] "b.momentum.next", double[6] "health.updates/w", double[6] "health.updates/b") {
   [w_step] "w.update" = Mul ("w.gradient", rate)
   [w_next] "w.next" = Sub (w, "w.update")
   [slot] "b.momentum.next" = Add ("b.momentum", "b.gradient")
   [b_step] "b.update" = Mul ("b.momentum.next", rate)
   [b_next] "b.next" = Sub (b, "b.update")
   ["update/w/ObserveUpdate"] "health.updates/w" = ai.onnxbf.ObserveUpdate ("w.update", w, "w.next")
   ["update/b/ObserveUpdate"] "health.updates/b" = ai.onnxbf.ObserveUpdate <mantissa_bits: int = 23> ("b.update", b, "b.next")
}"""  # noqa: E501


def test_roundings() -> None:
    model = _model(ROUNDED)
    model.graph[0].metadata_props[ROLE_KEY] = "inputs"
    assert ObserveRoundings(REPORT)(model).modified
    assert to_text(model) == OBSERVED
    assert model.graph[0].metadata_props[ROLE_KEY] == "inputs"


def test_updates() -> None:
    model = _model(UPDATE)
    assert ObserveUpdates(REPORT, {"w": parse_cast("bf16")})(model).modified
    assert to_text(model) == OBSERVED_UPDATE


def test_nothing_to_observe() -> None:
    plain = "<ir_version: 10, opset_import: ['' : 20]> g (float x) => (float y) { y = Neg (x) }"
    for graph_pass in (ObserveRoundings(REPORT), ObserveUpdates(REPORT, {})):
        model = _model(plain.replace("'", '"'))
        before = to_text(model)
        assert not graph_pass(model).modified
        assert to_text(model) == before


def test_pairs_of_casts_cannot_be_observed() -> None:
    text = """<ir_version: 8, opset_import: ["" : 18]>
    g (float[2,2] x) => (float[2,2] y) { [product] y = MatMul (x, x) }"""
    converted, _ = convert(onnx.parser.parse_model(text), "bf16", portable=True)
    with pytest.raises(UnsupportedError, match=r"'x_bf16_quantize' rounds by a pair of Casts"):
        ObserveRoundings(REPORT)(from_proto(converted))


def test_roundings_in_subgraphs_stay_as_they_are() -> None:
    text = """<ir_version: 10, opset_import: ["" : 20]>
    g (float[2,2] x, bool c) => (float[2,2] y) {
      [branch] y = If (c) <
        then_branch = t () => (float[2,2] p) { [inner] p = MatMul (x, x) },
        else_branch = e () => (float[2,2] q) { q = Identity (x) }
      >
    }"""
    converted, _ = convert(onnx.parser.parse_model(text), "bf16")
    model = from_proto(converted)
    ObserveRoundings(REPORT)(model)
    types = [node.op_type for node in model.graph]
    inner = [node.op_type for node in model.graph[-1].attributes["then_branch"].as_graph()]
    assert types == ["QuantizeDequantizeObserved", "If"]
    assert "QuantizeDequantize" in inner

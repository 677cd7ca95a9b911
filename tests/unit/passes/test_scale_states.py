"""Where the state of delayed scaling stands: in training, in evaluation, and nowhere else."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest

from onnxbf.errors import UnsupportedError
from onnxbf.graph import BUFFER, kind_of
from onnxbf.passes.pipeline import convert, rewrite
from onnxbf.passes.scale_states import ReadScales, TrackScales
from onnxbf.recipe import load_recipe
from onnxbf.report import Report

_TEXT = """<ir_version: 9, opset_import: ["" : 19]>
g (float[2,2] x, bool c) => (float[2,2] y) <float[2,2] w = {1.1,2.2,3.3,4.4}> {
  a = MatMul (x, w)
  y = If (c) <
    then_branch = t () => (float[2,2] p) { n = Neg (a)  p = MatMul (n, w) },
    else_branch = e () => (float[2,2] q) { q = Identity (a) }
  >
}"""
STATES = ["x_scaled_e4m3fn.scaling", "w_scaled_e4m3fn.scaling"]


def _rewritten(recipe: str = "fp8-delayed") -> ir.Model:
    model = ir.from_proto(onnx.parser.parse_model(_TEXT))
    rewrite(model, load_recipe(recipe), keeps_scales=True)
    return model


def _nodes(model: ir.Model, op_type: str) -> list[ir.Node]:
    return [node for node in model.graph.all_nodes() if node.op_type == op_type]


def test_training_gives_each_tensor_of_the_main_graph_a_state() -> None:
    model, report = _rewritten(), Report("none")
    scales = TrackScales(report)
    scales(model)
    assert [*scales.states] == STATES
    assert scales.states[STATES[0]].tolist() == [1] + [0] * 1024
    assert [value.name for value in model.graph.inputs][2:] == STATES
    assert all(kind_of(value) == BUFFER for value in model.graph.inputs[2:])
    assert [v.name for v in model.graph.outputs] == ["y", *(f"{name}.next" for name in STATES)]
    delayed = _nodes(model, "QuantizeDelayed")
    assert [[value.name for value in node.inputs] for node in delayed] == [
        ["x", STATES[0]],
        ["w", STATES[1]],
    ]
    (inner,) = _nodes(model, "QuantizeScaled")  # in a branch, which gives no outputs of the model
    assert [value.name for value in inner.inputs] == ["n"] and not inner.attributes
    assert report.notes == [
        "scaled by their own largest magnitude, as only training keeps that of the steps before: "
        "1 of the tensors under delayed scaling."
    ]
    onnx.checker.check_model(ir.to_proto(model))


def test_evaluation_reads_the_states_that_there_are() -> None:
    model = _rewritten()
    ReadScales(Report("none"), STATES[:1])(model)
    assert [value.name for value in model.graph.inputs][2:] == STATES[:1]
    assert [value.name for value in model.graph.outputs] == ["y"]
    (delayed,) = _nodes(model, "QuantizeDelayed")
    assert len(delayed.outputs) == 1
    assert {node.inputs[0].name for node in _nodes(model, "QuantizeScaled")} == {"w", "n"}


def test_convert_scales_by_the_tensor_at_hand_and_says_so() -> None:
    converted, report = convert(onnx.parser.parse_model(_TEXT), "fp8-delayed")
    current, _ = convert(onnx.parser.parse_model(_TEXT), "fp8-current")
    assert converted.graph.node == current.graph.node
    assert report.casts()["e4m3fn:rne{scaling=delayed,history=1024}"] == 3
    assert any(note.endswith("3 of the tensors under delayed scaling.") for note in report.notes)


def test_stochastic_rounding_keeps_its_step_in_both() -> None:
    text = "fp8-delayed{inputs=e4m3fn:sr{scaling=delayed,history=2}}"
    model = _rewritten(text)
    step = ir.Value(name="step", type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape([]))
    model.graph.inputs.append(step)
    for node in _nodes(model, "QuantizeDelayed"):
        if node.attributes.get_string("rounding", "") == "sr":
            node.resize_inputs(3)
            node.replace_input_with(2, step)
    tracked = model.clone()
    ReadScales(Report("none"), ())(model)
    TrackScales(Report("none"))(tracked)
    (one,) = [n for n in _nodes(model, "QuantizeScaled") if n.inputs[0].name == "x"]
    assert [value.name for value in one.inputs] == ["x", "step"]
    assert "history" not in one.attributes
    (other,) = [n for n in _nodes(tracked, "QuantizeDelayed") if n.inputs[0].name == "x"]
    assert [value.name for value in other.inputs] == ["x", STATES[0], "step"]


def test_no_cast_scales() -> None:
    with pytest.raises(UnsupportedError, match=r"scaled numbers.*leave out --portable"):
        convert(onnx.parser.parse_model(_TEXT), "fp8-current", portable=True)

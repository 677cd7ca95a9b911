"""Phases of gradient graphs, which are known by the names that ONNX Runtime's builder gives."""

import onnx
import onnx_ir as ir
import pytest

from onnxbf.graph import BUFFER, PARAMETER, Phase, is_parameter, kind_of, mark_kind, phase_of
from onnxbf.passes.stamp_phases import StampPhases, is_gradient_graph
from onnxbf.protos import from_proto
from onnxbf.report import Report

# y = x (2 w), and the gradients by x, w and the data-independent d = 2 w
_TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[2,2] x, float[2,2] w, float[2,2] y_grad) => (float[2,2] y, float[2,2] w_grad)
<float two = {2}> {
  [scale] d = Mul (two, w)
  [product] y = MatMul (x, d)
  ["product_Grad/Transpose_0"] "product_Grad/t" = Transpose (x)
  ["product_Grad/MatMul_1"] d_grad = MatMul ("product_Grad/t", y_grad)
  ["product_Grad/MatMul_2"] x_grad_0 = MatMul (y_grad, d)
  ["AccumulateGrad_x_grad"] x_grad = Sum (x_grad_0, x_grad_0)
  ["scale_Grad/Mul_0"] w_grad = Mul (d_grad, two)
}"""


@pytest.fixture
def model() -> ir.Model:
    return from_proto(onnx.parser.parse_model(_TEXT))


def test_what_leads_to_parameters_alone_is_weight_gradient(model: ir.Model) -> None:
    mark_kind(model.graph.inputs[1], PARAMETER)
    StampPhases(Report("none"))(model)
    phases = {node.name: phase_of(node) for node in model.graph}
    assert phases == {
        "scale": Phase.FORWARD,
        "product": Phase.FORWARD,
        "product_Grad/Transpose_0": Phase.WEIGHT_GRADIENT,
        "product_Grad/MatMul_1": Phase.WEIGHT_GRADIENT,
        "product_Grad/MatMul_2": Phase.INPUT_GRADIENT,
        "AccumulateGrad_x_grad": Phase.INPUT_GRADIENT,
        "scale_Grad/Mul_0": Phase.WEIGHT_GRADIENT,
    }


def test_inputs_with_a_gradient_are_parameters_unless_any_is_marked(model: ir.Model) -> None:
    StampPhases(Report("none"))(model)
    marked = {value.name for value in model.graph.inputs if is_parameter(value)}
    assert marked == {"w", "x"}  # nothing else tells a trained input from a batch


def test_a_stamped_graph_is_not_stamped_again(model: ir.Model) -> None:
    stamp = StampPhases(Report("none"))
    assert stamp(model).modified
    assert not stamp(model).modified


def test_a_forward_model_is_no_gradient_graph() -> None:
    text = '<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] y) {y = Relu (x)}'
    model = from_proto(onnx.parser.parse_model(text))
    assert not is_gradient_graph(model)
    assert not StampPhases(Report("none"))(model).modified


# y = x a b with a frozen b, as ONNX Runtime's artifact generator writes it, and a running mean
_ACCUMULATED = """<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>
g (float[2,2] x, float[2,2] y_grad, float[2,2] a, float[2,2] b, float[2] s, float[2] m, float[2] v,
   float[2,2] "a_grad.accumulation.buffer", bool[1] lazy_reset_grad)
=> (float[2,2] z, bool[1] "a_grad.accumulation.out") {
  [first] p = MatMul (x, a)
  [second] y = MatMul (p, b)
  [norm] z = com.microsoft.BatchNormInternal (y, s, s, m, v)
  ["second_Grad/Gemm_0"] p_grad = Gemm (y_grad, b)
  ["first_Grad/Gemm_1"] a_grad = Gemm (p_grad, x)
  [GradientAccumulator1] "a_grad.accumulation.out" = com.microsoft.InPlaceAccumulatorV2
    ("a_grad.accumulation.buffer", a_grad, lazy_reset_grad)
}"""


def test_frozen_parameters_statistics_and_accumulators_are_known() -> None:
    model = from_proto(onnx.parser.parse_model(_ACCUMULATED))
    StampPhases(Report("none"))(model)
    kinds = {value.name: kind_of(value) for value in model.graph.inputs}
    assert {name for name, kind in kinds.items() if kind == PARAMETER} == {"a", "b", "s"}
    assert {name for name, kind in kinds.items() if kind == BUFFER} == {"m", "v"}
    assert [phase_of(node) for node in model.graph] == [
        *[Phase.FORWARD] * 3,
        Phase.INPUT_GRADIENT,
        *[Phase.WEIGHT_GRADIENT] * 2,
    ]

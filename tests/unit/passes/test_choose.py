"""What is a gradient in a backward pass, and what is only computed there."""

import onnx
import onnx_ir as ir

from onnxbf.graph import is_loss
from onnxbf.operators import Role, find_operator
from onnxbf.passes.choose import gradient_values, role_of
from onnxbf.passes.infer_types import InferTypes
from onnxbf.passes.stamp_phases import StampPhases
from onnxbf.protos import from_proto
from onnxbf.report import Report

# y = tanh(x)^T w; the backward pass transposes x's tanh, squares it, and uses both
_TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[2,3] x, float[2,2] w, float[3,2] y_grad) => (float[3,2] y, float[2,2] w_grad) {
  [tanh] t = Tanh (x)
  [turn] v = Transpose (t)
  [product] y = MatMul (v, w)
  ["product_Grad/Transpose_0"] "product_Grad/v" = Transpose (v)
  ["product_Grad/MatMul_1"] w_grad_0 = MatMul ("product_Grad/v", y_grad)
  ["tanh_Grad/Mul_0"] square = Mul (t, t)
  ["tanh_Grad/Mul_1"] "x_grad" = Mul (square, square)
  ["AccumulateGrad_w_grad"] w_grad = Sum (w_grad_0, w_grad_0)
}"""


def _model() -> ir.Model:
    model = from_proto(onnx.parser.parse_model(_TEXT))
    StampPhases(Report("none"))(model)
    InferTypes(Report("none"))(model)
    return model


def _role(model: ir.Model, name: str, index: int) -> Role | None:
    node = next(node for node in model.graph if node.name == name)
    operator = find_operator(node.domain, node.op_type)
    assert operator is not None
    return role_of(node, operator, index, gradient_values(model))


def test_only_what_depends_on_the_gradient_of_the_loss_is_a_gradient() -> None:
    model = _model()
    assert _role(model, "product_Grad/MatMul_1", 0) is Role.INPUT
    assert _role(model, "product_Grad/MatMul_1", 1) is Role.INPUT  # an input, which no node gave
    assert _role(model, "tanh_Grad/Mul_1", 0) is Role.INPUT
    assert {value.name for value in gradient_values(model)} == {"w_grad_0", "w_grad"}


def test_parts_of_a_weight_gradient_are_not_rounded_before_they_are_added() -> None:
    model = _model()
    assert _role(model, "AccumulateGrad_w_grad", 0) is None
    assert {*gradient_values(model).values()} == {Role.WEIGHT_GRADIENT}


def test_sums_of_gradients_within_the_loss_belong_to_it() -> None:
    assert is_loss(ir.node("Sum", [], name="AccumulateGrad_loss/Sub:0_grad"))
    assert not is_loss(ir.node("Sum", [], name="AccumulateGrad_lossy_grad"))

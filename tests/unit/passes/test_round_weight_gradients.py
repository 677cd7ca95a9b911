"""Gradients of weights are rounded when they are whole, those of biases never."""

import onnx
import pytest

from onnxbf.passes.pipeline import convert

# y = table[i] w + b, with the table used a second time as the matrix of the output
_TEXT = """<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>
g (int64[2] i, float[2,2] w, float[2] b, float[3,2] table, float[2,3] y_grad)
=> (float[2,3] y, float[2,2] w_grad, float[2] b_grad, float[3,2] table_grad) {
  [look] e = Gather (table, i)
  [dense] h = Gemm (e, w, b)
  [turn] u = Transpose (table)
  [out] y = MatMul (h, u)
  ["out_Grad/0"] h_grad = com.microsoft.FusedMatMul <transB = 1> (y_grad, u)
  ["out_Grad/1"] u_grad = com.microsoft.FusedMatMul <transA = 1> (h, y_grad)
  ["turn_Grad/0"] table_grad_0 = Transpose (u_grad)
  ["dense_Grad/0"] e_grad = Gemm <transB = 1> (h_grad, w)
  ["dense_Grad/1"] w_grad = Gemm <transA = 1> (e, h_grad)
  axes = Constant <value_ints = [0]> ()
  ["dense_Grad/2"] b_grad = ReduceSum <keepdims = 0> (h_grad, axes)
  ["look_Grad/0"] shape = Shape (table)
  ["look_Grad/1"] table_grad_1 = com.microsoft.GatherGrad (shape, i, e_grad)
  ["AccumulateGrad_table_grad"] table_grad = Sum (table_grad_0, table_grad_1)
}"""


def _rounded(recipe: str) -> dict[str, str]:
    """The tensors that are rounded as weight gradients, and how."""
    _, report = convert(onnx.parser.parse_model(_TEXT), recipe)
    return {c.tensor: c.cast for c in report.changes if c.role == "weight_gradients"}


@pytest.mark.parametrize("recipe", ["bf16", "fp8"])
def test_weights_and_tables_once(recipe: str) -> None:
    assert _rounded(recipe) == {"w_grad": "bf16:rne", "table_grad": "bf16:rne"}


def test_by_option_not_at_all() -> None:
    _, report = convert(onnx.parser.parse_model(_TEXT), "bf16{weight_gradients=fp32}")
    assert not any("grad" in change.tensor and "_0" in change.tensor for change in report.changes)
    assert _rounded("bf16{weight_gradients=fp32}") == {}
    assert _rounded("bf16{weight_gradients=fp16:rtz}")["w_grad"] == "fp16:rtz"


def test_where_the_sum_has_no_rule_that_of_its_parts_counts() -> None:
    assert _rounded("bf16-gemm") == {"w_grad": "bf16:rne", "table_grad": "bf16:rne"}


def test_only_selected_nodes() -> None:
    _, report = convert(onnx.parser.parse_model(_TEXT), exclude="dense")
    assert "w_grad" not in {change.tensor for change in report.changes}

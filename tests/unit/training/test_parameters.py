"""Which initializers are trained: by place, by size, by what they take part in."""

import onnx
import onnx_ir as ir
import pytest

from onnxbf.errors import ModelError, SpecError
from onnxbf.passes.infer_types import InferTypes
from onnxbf.protos import from_proto
from onnxbf.report import Report
from onnxbf.training.parameters import choose_parameters

_TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,2] x) => (float[N,1] y)
<float[2,2] weight = {1, 2, 3, 4}, float[2] bias = {0, 0}, float[2,1] head = {1, 1},
 float[1] head_bias = {0}, float half = {0.5}, float[2] frequencies = {1, 0.1},
 float[2] running = {0, 0}, int64[1] zero = {0}, float[3,2] positions = {1,2,3,4,5,6}> {
  a = Gemm (x, weight, bias)
  b = Mul (a, half)
  size = Shape <end = 1> (x)
  length = Cast <to = 1> (size)
  angle = Mul (length, frequencies)
  embedded = Gather (positions, zero)
  c = Add (b, angle)
  d = Add (c, embedded)
  e = Sub (d, running)
  f = MatMul (e, head)
  y = Add (f, head_bias)
}"""


@pytest.fixture
def model() -> ir.Model:
    model = from_proto(onnx.parser.parse_model(_TEXT))
    InferTypes(Report("none"))(model)
    return model


def test_weights_biases_and_embeddings_are_trained(model: ir.Model) -> None:
    choice = choose_parameters(model, buffers=["running"])
    assert choice.trained == ("weight", "bias", "head", "head_bias", "positions")
    assert choice.frozen == {
        "half": "a number that stands alone",
        "frequencies": "only used to compute from shapes",
        "running": "a running statistic",
    }


def test_patterns_overrule_what_is_found(model: ir.Model) -> None:
    choice = choose_parameters(model, train="half", freeze=["head", "^w"])
    assert choice.trained == ("bias", "half", "running", "positions")
    assert choice.frozen["head_bias"] == "named by --freeze"


def test_patterns_that_name_nothing_or_do_not_parse_are_refused(model: ir.Model) -> None:
    with pytest.raises(ModelError, match="'conv1' is found in no name"):
        choose_parameters(model, freeze="conv1")
    with pytest.raises(SpecError):
        choose_parameters(model, train="(")


def test_a_model_without_parameters_is_refused() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[2] x) => (float[2] y) { c = Constant <value_floats = [1.0, 2.0]> () y = Add (x, c) }"""
    with pytest.raises(ModelError, match=r"no trainable parameters.*1 constants are nodes"):
        choose_parameters(from_proto(onnx.parser.parse_model(text)))

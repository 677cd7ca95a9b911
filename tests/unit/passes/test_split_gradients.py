"""ConvGrad, once for each of the gradients that a recipe may round differently."""

import onnx
import onnx_ir as ir

from onnxbf.graph import Phase, phase_of
from onnxbf.passes.pipeline import rewrite
from onnxbf.passes.split_gradients import SplitGradients
from onnxbf.protos import from_proto
from onnxbf.recipe import load_recipe
from onnxbf.report import Report

_TEXT = """<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>
g (float[1,1,4,4] dy, float[1,1,4,4] x, float[1,1,1,1] w)
=> (float[1,1,4,4] read, float[1,1,1,1] dw, float[1] db) {
  [grad] dx, dw, db = com.microsoft.ConvGrad (dy, x, w)
  read = Relu (dx)
}"""


def test_input_and_weight_gradient_become_nodes_of_their_own() -> None:
    model = from_proto(onnx.parser.parse_model(_TEXT))
    SplitGradients(Report("none"))(model)
    weights, inputs, relu = model.graph
    assert [value.name for value in weights.outputs] == ["", "dw", "db"]
    assert [value.name for value in inputs.outputs] == ["dx"]
    assert relu.inputs[0] is inputs.outputs[0]
    assert phase_of(weights) is Phase.WEIGHT_GRADIENT
    assert phase_of(inputs) is Phase.INPUT_GRADIENT
    assert inputs.name == "grad_input"


def test_an_input_gradient_that_the_graph_gives_out_is_split_off_too() -> None:
    text = _TEXT.replace("read, float", "dx, float").replace("  read = Relu (dx)\n", "")
    model = from_proto(onnx.parser.parse_model(text))
    rewrite(model, load_recipe("mxfp8"))
    products = [node for node in model.graph if node.op_type == "ConvGrad"]
    assert [value.name for value in model.graph.outputs] == ["dx", "dw", "db"]
    axes = {
        phase_of(node): [
            source.attributes.get_int("axis", -1)
            for value in node.inputs[:1]
            if value is not None and (source := value.producer()) is not None
        ]
        for node in products
    }
    assert axes == {Phase.WEIGHT_GRADIENT: [0], Phase.INPUT_GRADIENT: [1]}


def test_a_node_with_one_gradient_stays() -> None:
    model = from_proto(onnx.parser.parse_model(_TEXT))
    node, relu = model.graph
    relu.replace_input_with(0, model.graph.inputs[0])
    node.outputs[0].name = ""
    assert not SplitGradients(Report("none"))(model).modified
    assert isinstance(node, ir.Node)

"""Building nodes: names that are not taken, attributes, several outputs, phases."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from onnxbf.builder import Builder
from onnxbf.graph import Names, Phase, phase_of
from onnxbf.protos import from_proto, to_proto

_TEXT = """
<ir_version: 10, opset_import: ["" : 20]>
g (float[4] x) => (float[4] y) {
    ["b/Relu"] y = Relu (x)
}
"""


@pytest.fixture
def model() -> ir.Model:
    return from_proto(onnx.parser.parse_model(_TEXT))


def test_what_is_built_computes_what_was_called(model: ir.Model) -> None:
    b = Builder(Names(model), "b")
    first, second = b.Split(model.graph.outputs[0], outputs=2, num_outputs=2)
    total = b.ReduceSum(b.Mul(first, b.constant(2)), b.integers(0), keepdims=0)
    total.dtype, total.shape = ir.DataType.FLOAT, ir.Shape([])
    second.dtype, second.shape = ir.DataType.FLOAT, ir.Shape([2])
    model.graph.extend(b.nodes)
    model.graph.outputs[:] = [total, second]
    proto = to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    found = ReferenceEvaluator(proto).run(None, {"x": np.float32([1, -1, 3, 4])})
    assert found[0] == 2
    assert found[1].tolist() == [3, 4]


def test_names_are_not_taken_twice(model: ir.Model) -> None:
    b = Builder(Names(model), "b")
    x = model.graph.inputs[0]
    made = [b.Relu(x), b.Relu(x)]
    assert [node.name for node in b.nodes] == ["b/Relu_1", "b/Relu_2"]
    assert [value.name for value in made] == ["b/Relu_1:0", "b/Relu_2:0"]


def test_phases_and_domains_are_stamped(model: ir.Model) -> None:
    b = Builder(Names(model), "b", phase=Phase.UPDATE, domain="com.microsoft")
    b.ReluGrad(None, model.graph.inputs[0])
    (node,) = b.nodes
    assert (node.domain, node.inputs[0], phase_of(node)) == ("com.microsoft", None, Phase.UPDATE)


def test_an_attribute_that_is_no_operator_is_none(model: ir.Model) -> None:
    with pytest.raises(AttributeError):
        _ = Builder(Names(model), "b").relu

"""What is kept rounds something: no quantize node of a converted network does nothing."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from onnxbf.custom_ops.reference import REFERENCE_OPS
from onnxbf.passes.pipeline import convert

_CNN = """<ir_version: 8, opset_import: ["" : 17]>
cnn (float[2,1,8,8] x) => (float[2,3] y) {
  c1 = Conv <pads = [1,1,1,1]> (x, w1, b1)
  n1 = BatchNormalization (c1, scale, shift, mean, var)
  r1 = Relu (n1)
  p1 = MaxPool <kernel_shape = [2,2], strides = [2,2]> (r1)
  c2 = Conv (p1, w2)
  n2 = BatchNormalization (c2, scale, shift, mean, var)
  r2 = Relu (n2)
  c3 = Conv (r2, w3)
  s3 = Add (c3, p1)
  r3 = Relu (s3)
  g = GlobalAveragePool (r3)
  f = Flatten (g)
  l = Gemm (f, w4, b4)
  y = Softmax (l)
}"""
_SHAPES = {
    "w1": (2, 1, 3, 3), "b1": (2,), "scale": (2,), "shift": (2,), "mean": (2,), "var": (2,),
    "w2": (2, 2, 1, 1), "w3": (2, 2, 1, 1), "w4": (2, 3), "b4": (3,),
}  # fmt: skip


def _cnn() -> onnx.ModelProto:
    """14 nodes, with weights of which no number is one of bfloat16."""
    model, generator = onnx.parser.parse_model(_CNN), np.random.default_rng(0)
    for name, shape in _SHAPES.items():
        numbers = generator.uniform(0.5, 1.5, shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(numbers, name))
    return model


@pytest.mark.parametrize("recipe", ["bf16", "bf16-gemm", "fp16", "fp8"])
def test_every_quantize_node_of_a_cnn_changes_numbers(recipe: str) -> None:
    model, _ = convert(_cnn(), recipe)
    quantizes = [node for node in model.graph.node if node.op_type == "QuantizeDequantize"]
    assert len(quantizes) <= 16  # two for each node that is rounded would be 26 and more
    pairs = [(node.input[0], node.output[0]) for node in quantizes]
    computed = {name for node in model.graph.node for name in node.output}
    named = {value.name for value in model.graph.output}
    seen = sorted(computed - named)
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in seen)
    x = np.random.default_rng(1).standard_normal((2, 1, 8, 8)).astype(np.float32)
    results = ReferenceEvaluator(model, new_ops=REFERENCE_OPS).run(None, {"x": x})
    values = dict(zip((value.name for value in model.graph.output), results))
    values |= {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer} | {"x": x}
    for before, after in pairs:
        assert (values[before] != values[after]).any(), before

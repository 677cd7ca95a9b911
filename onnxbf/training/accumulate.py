"""The graph that adds the gradients of one batch to those of the batches before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

OPSET, IR_VERSION = 18, 10
SUM = ".sum"


def make_accumulation(shapes: Mapping[str, Sequence[int]]) -> ir.Model:
    """``<gradient>`` and ``<gradient>.sum`` in, ``<gradient>.sum.next`` out, for every gradient."""
    inputs, outputs, nodes = [], [], []
    for name, shape in shapes.items():
        gradient, total = _value(name, shape), _value(f"{name}{SUM}", shape)
        node = ir.node("Add", [total, gradient], name=f"accumulate/{name}")
        result = node.outputs[0]
        result.name, result.type, result.shape = f"{name}{SUM}.next", total.type, total.shape
        inputs += [gradient, total]
        outputs.append(result)
        nodes.append(node)
    graph = ir.Graph(inputs, outputs, nodes=nodes, opset_imports={"": OPSET}, name="accumulation")
    return ir.Model(graph, ir_version=IR_VERSION)


def _value(name: str, shape: Sequence[int]) -> ir.Value:
    return ir.Value(name=name, type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(shape))

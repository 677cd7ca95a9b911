"""Take the maps off what a scikit-learn classifier gives, so that a loss can be of it."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxbf.graph import replace_node
from onnxbf.passes.base import GraphPass


@dataclass(frozen=True)
class UnmapOutputs(GraphPass):
    """Give the tensor that a ZipMap makes maps of, under the name of the maps."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [node for node in model.graph if _makes_maps(node)]
        for node in found:
            same = ir.node("Identity", node.inputs, name=node.name)
            replace_node(node, [same], same.outputs)
            same.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
        return ir.passes.PassResult(model, modified=bool(found))


def _makes_maps(node: ir.Node) -> bool:
    return node.op_type == "ZipMap" and node.domain == "ai.onnx.ml" and not node.outputs[0].uses()

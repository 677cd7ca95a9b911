"""Infer shapes where ONNX Runtime needs them stated: in models with a Scan.

Through ONNX Runtime's C interface, a custom operator cannot tell a scalar from a tensor of unknown
rank, so what it gives for a scalar has no shape. That matters to none but Scan, which refuses to
run when the shape of an output of its body is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from onnxbf.graph import all_graphs
from onnxbf.passes.base import GraphPass


@dataclass(frozen=True)
class InferShapes(GraphPass):
    """Run ONNX's own shape inference on models with a Scan; rounding then hands shapes on."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        if not any(node.op_type == "Scan" for graph in all_graphs(model) for node in graph):
            return ir.passes.PassResult(model, modified=False)
        return ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)

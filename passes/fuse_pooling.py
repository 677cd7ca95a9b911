"""Let MaxPool compute what stands before it."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxbf.custom_ops.registry import DOMAIN, PROGRAM
from onnxbf.operators import STANDARD_DOMAINS
from onnxbf.passes.base import GraphPass
from onnxbf.passes.fuse_elementwise import FUSED


@dataclass(frozen=True)
class FusePooling(GraphPass):
    """Hand a Relu, or a program of one tensor, to the MaxPool that alone reads it.

    The numbers are then rounded and masked while they are in the cache, and written nowhere. Runs
    after FuseElementwise, and only on our MaxPool.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in list(model.graph):
            if (node.domain, node.op_type) != (DOMAIN, "MaxPool") or PROGRAM in node.attributes:
                continue
            value = node.inputs[0]
            before = None if value is None else value.producer()
            if value is None or before is None or before.graph is None:
                continue
            program = _program(before)
            if not program or len(value.uses()) > 1 or value.is_graph_output():
                continue
            node.replace_input_with(0, before.inputs[0])
            node.attributes.add(ir.AttrString(PROGRAM, program))
            before.graph.remove(before, safe=True)
            modified = True
        return ir.passes.PassResult(model, modified=modified)


def _program(node: ir.Node) -> str:
    """What computes a node's one output of its one input; empty where it is no program."""
    if len(node.inputs) != 1 or len(node.outputs) != 1:
        return ""
    if node.op_type == "Relu" and node.domain in STANDARD_DOMAINS:
        return "Relu y0 x0"
    if (node.domain, node.op_type) == (DOMAIN, FUSED):
        return node.attributes.get_string(PROGRAM, "")
    return ""

"""Split fused gradient nodes into one node for the input gradient and one for the weight gradient.

The two are matrix products of their own on hardware, and a recipe may round them differently.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxbf.graph import PHASE_KEY, Names, Phase, take_place
from onnxbf.passes.base import GraphPass

_FUSED = ("ConvGrad",)  # outputs: gradients of the input, the weights, the bias


@dataclass(frozen=True)
class SplitGradients(GraphPass):
    """Have ConvGrad twice where both of its gradients are wanted; nothing is computed twice."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        fused = [node for node in model.graph if node.op_type in _FUSED]
        if not fused:
            return ir.passes.PassResult(model, modified=False)
        names = Names(model)
        split = [node for node in fused if _split(node, names)]
        return ir.passes.PassResult(model, modified=bool(split))


def _split(node: ir.Node, names: Names) -> bool:
    to_input, *to_weights = node.outputs
    if not _is_wanted(to_input) or not any(map(_is_wanted, to_weights)):
        return False
    assert node.graph is not None
    made = ir.node(
        node.op_type,
        node.inputs,
        dict(node.attributes),
        domain=node.domain,
        name=names.fresh(f"{node.name}_input"),
        metadata_props={PHASE_KEY: Phase.INPUT_GRADIENT.value},
    )
    take_place(made.outputs[0], to_input)
    to_input.name = ""
    to_input.type = None
    node.metadata_props[PHASE_KEY] = Phase.WEIGHT_GRADIENT.value
    node.graph.insert_after(node, made)
    return True


def _is_wanted(value: ir.Value) -> bool:
    return bool(value.uses()) or value.is_graph_output()

"""Have the gradient of a loss compute probabilities from the logits, rather than keep them."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxbf.custom_ops.registry import DOMAIN
from onnxbf.graph import Names
from onnxbf.passes.base import GraphPass

_LOSS = "SoftmaxCrossEntropyLoss"
_GRADIENT = f"{_LOSS}Grad"
_STATISTICS = ("largest", "log_of_sum")  # of each row: what is taken from its logits in turn


@dataclass(frozen=True)
class RecomputeProbabilities(GraphPass):
    """Where gradients alone read the logarithms of all probabilities, hand on two numbers a row.

    A logarithm is logit - largest - log_of_sum, to the same bits whoever computes it, and reading
    the logits a second time takes less than writing as many numbers, and reading those. Only for
    the loss and the gradient that are ours, as in the graphs that a trainer runs.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        names, modified = Names(model), False
        for node in model.graph:
            gradients = _gradients(node)
            if gradients:
                _recompute(node, gradients, names)
                modified = True
        return ir.passes.PassResult(model, modified=modified)


def _gradients(node: ir.Node) -> list[ir.Node]:
    """All that reads the second output of a loss; empty where that must stay."""
    if (node.domain, node.op_type) != (DOMAIN, _LOSS) or len(node.outputs) != 2:
        return []
    logarithms = node.outputs[1]
    uses = logarithms.uses()
    if logarithms.is_graph_output() or not all(_reads(reader, index) for reader, index in uses):
        return []
    return [reader for reader, _ in uses]


def _reads(node: ir.Node, index: int) -> bool:
    """Whether a gradient reads these logarithms, and has been given no statistics."""
    return (node.domain, node.op_type, index) == (DOMAIN, _GRADIENT, 1) and len(node.inputs) == 3


def _recompute(loss: ir.Node, gradients: list[ir.Node], names: Names) -> None:
    logits, logarithms = loss.inputs[0], loss.outputs[1]
    loss.resize_outputs(2 + len(_STATISTICS))
    statistics = loss.outputs[2:]
    for value, name in zip(statistics, _STATISTICS, strict=True):
        value.name = names.fresh(f"{loss.name}:{name}")
        value.dtype = ir.DataType.FLOAT
    for gradient in gradients:
        gradient.replace_input_with(1, logits)
        gradient.resize_inputs(3 + len(statistics))
        for index, value in enumerate(statistics, start=3):
            gradient.replace_input_with(index, value)
    logarithms.name = ""

"""Let the gradient of a Relu before a MaxPool be taken where there are fewer numbers."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxbf.custom_ops.registry import DOMAIN
from onnxbf.graph import Names, take_place
from onnxbf.passes.base import GraphPass


@dataclass(frozen=True)
class PoolReluGradients(GraphPass):
    """Exchange a MaxPoolGrad and the ReluGrad that alone reads it, to the same bits.

    What a window gives is above 0 where, and only where, the number that it was found at is. So
    masking what goes into MaxPoolGrad by what was pooled does what masking the result by the Relu
    does: on a quarter of the numbers, where windows are 2 x 2, and what Relu gave need not be kept.

    Only for our MaxPool and MaxPoolGrad, as in the graphs that a trainer runs.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        names, modified = Names(model), False
        for node in list(model.graph):
            pool = _pool_before(node)
            if pool is not None:
                _exchange(node, pool, names)
                modified = True
        return ir.passes.PassResult(model, modified=modified)


def _pool_before(node: ir.Node) -> ir.Node | None:
    """The MaxPool of what a ReluGrad masks by, if that reads its MaxPoolGrad alone."""
    if node.op_type != "ReluGrad" or node.inputs[0] is None:
        return None
    gradient, masked_by = node.inputs[0].producer(), node.inputs[1]
    if gradient is None or (gradient.domain, gradient.op_type) != (DOMAIN, "MaxPoolGrad"):
        return None
    if len(node.inputs[0].uses()) > 1 or node.inputs[0].is_graph_output():
        return None
    pool = None if gradient.inputs[1] is None else gradient.inputs[1].producer()
    if pool is None or (pool.domain, pool.op_type) != (DOMAIN, "MaxPool"):
        return None
    pooled = pool.inputs[0]
    relu = None if pooled is None else pooled.producer()
    is_relu = relu is not None and relu.op_type == "Relu" and relu.inputs[0] is masked_by
    return pool if pooled is masked_by or is_relu else None


def _exchange(node: ir.Node, pool: ir.Node, names: Names) -> None:
    graph, gradient = node.graph, node.inputs[0].producer() if node.inputs[0] else None
    assert graph is not None and gradient is not None and gradient.inputs[0] is not None
    before = gradient.inputs[0]
    masked = ir.node(
        node.op_type,
        [before, pool.outputs[0]],
        domain=node.domain,
        name=node.name,
        metadata_props=dict(node.metadata_props),
    )
    masked.outputs[0].name = names.fresh(f"{before.name}_masked")
    masked.outputs[0].type, masked.outputs[0].shape = before.type, before.shape
    graph.insert_before(gradient, masked)
    gradient.replace_input_with(0, masked.outputs[0])
    take_place(gradient.outputs[0], node.outputs[0])
    graph.remove(node, safe=True)

"""Let quantize nodes tell what they do to numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxbf.custom_ops.observation import ROUNDING_FIELDS
from onnxbf.errors import UnsupportedError
from onnxbf.graph import ROLE_KEY, Names, all_graphs
from onnxbf.passes.base import GraphPass
from onnxbf.passes.representable import node_cast

ROUNDINGS = "health.roundings"
OBSERVED = "QuantizeDequantizeObserved"


@dataclass(frozen=True)
class ObserveRoundings(GraphPass):
    """Turn the QuantizeDequantize nodes of the main graph into QuantizeDequantizeObserved.

    What they measure becomes one more output of the model, ``health.roundings``: float64, the
    ROUNDING_FIELDS of one node after the other. Nodes in subgraphs and functions stay as they are:
    what they measure cannot leave them.

    Raises:
        UnsupportedError: a rounding that was written as a pair of Cast nodes.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        for graph in all_graphs(model):
            for node in graph:
                _refuse_casts(node)
        names = Names(model)
        found = [_observe(node, names) for node in model.graph if node_cast(node) is not None]
        collect(model, ROUNDINGS, found, names)
        return ir.passes.PassResult(model, modified=bool(found))


def collect(model: ir.Model, name: str, health: Sequence[ir.Value], names: Names) -> None:
    """Make vectors one output of the model, one after the other; nothing where there are none."""
    if not health:
        return
    node = ir.node("Concat", list(health), {"axis": 0}, name=names.fresh(f"{name}/Concat"))
    result = node.outputs[0]
    result.name, result.dtype = names.fresh(name), ir.DataType.DOUBLE
    sizes = (value.shape.numpy()[0] for value in health if value.shape is not None)
    result.shape = ir.Shape([sum(sizes)])
    model.graph.append(node)
    model.graph.outputs.append(result)


def _refuse_casts(node: ir.Node) -> None:
    if node.op_type == "Cast" and ROLE_KEY in node.metadata_props:
        raise UnsupportedError(
            f"Node {node.name!r} rounds by a pair of Casts, which cannot be observed: leave out "
            "--portable, or do without numeric health."
        )


def _observe(node: ir.Node, names: Names) -> ir.Value:
    node.op_type = OBSERVED
    node.resize_outputs(2)
    health = node.outputs[1]
    health.name = names.fresh(f"{node.name}/health")
    health.dtype, health.shape = ir.DataType.DOUBLE, ir.Shape([len(ROUNDING_FIELDS)])
    return health

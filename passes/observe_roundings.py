"""Let quantize nodes tell what they do to numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from onnxbf.custom_ops.attributes import attributes_cast
from onnxbf.custom_ops.observation import ROUNDING_FIELDS
from onnxbf.custom_ops.quantizers import DELAYED, SCALED
from onnxbf.custom_ops.registry import DOMAIN
from onnxbf.errors import UnsupportedError
from onnxbf.formats import Cast
from onnxbf.graph import ROLE_KEY, Names, all_graphs
from onnxbf.passes.base import GraphPass
from onnxbf.passes.representable import node_cast

ROUNDINGS = "health.roundings"
OBSERVED = "QuantizeDequantizeObserved"
_SCALED: Mapping[str, int] = {SCALED: 1, DELAYED: 2}  # which output says what they did


@dataclass(frozen=True)
class ObserveRoundings(GraphPass):
    """Turn the QuantizeDequantize nodes of the main graph into QuantizeDequantizeObserved.

    Those that round scaled numbers have an output for what is measured. It becomes one more output
    of the model, ``health.roundings/`` and the node's name: float64, ROUNDING_FIELDS. Nodes in
    subgraphs and functions stay as they are: what they measure cannot leave them.

    Raises:
        UnsupportedError: a rounding that was written as a pair of Cast nodes.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        for graph in all_graphs(model):
            for node in graph:
                _refuse_casts(node)
        names = Names(model)
        found = [node for node in model.graph if is_observable(node)]
        for node in found:
            _observe(model, node, names)
        return ir.passes.PassResult(model, modified=bool(found))


def is_observable(node: ir.Node) -> bool:
    """Whether a quantize node, in the main graph, can tell what it does to numbers."""
    return node_cast(node) is not None or (node.domain == DOMAIN and node.op_type in _SCALED)


def observed_cast(node: ir.Node) -> Cast | None:
    """The cast that a node applies which tells what it does to numbers; None for any other node."""
    if node.domain != DOMAIN or node.op_type != OBSERVED or len(node.outputs) < 2:
        return None
    return attributes_cast({name: a.value for name, a in node.attributes.items()})


def tell(model: ir.Model, health: ir.Value, name: str, fields: int) -> None:
    """Make what a node measures an output of the model."""
    health.name, health.dtype, health.shape = name, ir.DataType.DOUBLE, ir.Shape([fields])
    model.graph.outputs.append(health)


def _refuse_casts(node: ir.Node) -> None:
    if node.op_type == "Cast" and ROLE_KEY in node.metadata_props:
        raise UnsupportedError(
            f"Node {node.name!r} rounds by a pair of Casts, which cannot be observed: leave out "
            "--portable, or do without numeric health."
        )


def _observe(model: ir.Model, node: ir.Node, names: Names) -> None:
    place = _SCALED.get(node.op_type, 1)
    if node.op_type not in _SCALED:
        node.op_type = OBSERVED
    node.resize_outputs(place + 1)
    tell(model, node.outputs[place], names.fresh(f"{ROUNDINGS}/{node.name}"), len(ROUNDING_FIELDS))

"""Give the nodes of delayed scaling their state, or do without one."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxbf.custom_ops.attributes import attributes_delayed
from onnxbf.custom_ops.quantizers import DELAYED, SCALED
from onnxbf.custom_ops.registry import DOMAIN
from onnxbf.graph import BUFFER, NEXT, all_graphs, mark_kind
from onnxbf.passes.base import GraphPass
from onnxbf.scaled_cast import ScaledCast
from onnxbf.scaled_quantizer import first_state

_STATE = ".scaling"  # what the names of states end in
_FLOAT = ir.TensorType(ir.DataType.FLOAT)


@dataclass(frozen=True)
class TrackScales(GraphPass):
    """Make the state of every QuantizeDelayed node an input, and the next an output ``<it>.next``.

    Nodes in subgraphs, which can give no output of the model, scale by the tensor at hand instead.

    Attributes:
        states: what each is before the first step, by name; filled in by the pass.
    """

    states: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [node for node in model.graph if _is_delayed(node)]
        for node in found:
            state = _state(node)
            self.states[state.name or ""] = first_state(_cast(node))
            model.graph.inputs.append(state)
            node.resize_outputs(2)
            after = node.outputs[1]
            after.name, after.type, after.shape = f"{state.name}{NEXT}", state.type, state.shape
            model.graph.outputs.append(after)
        scaled = ScaleByCurrent(self.report)(model)
        return ir.passes.PassResult(model, modified=bool(found) or scaled.modified)


@dataclass(frozen=True)
class ReadScales(GraphPass):
    """Let QuantizeDelayed nodes scale as training left it: their state is an input alone.

    Attributes:
        states: the names of the states that there are; without one, the tensor at hand decides.
    """

    states: Collection[str]

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [n for n in model.graph if _is_delayed(n) and _name(n) in self.states]
        for node in found:
            model.graph.inputs.append(_state(node))
        scaled = ScaleByCurrent(self.report)(model)
        return ir.passes.PassResult(model, modified=bool(found) or scaled.modified)


@dataclass(frozen=True)
class ScaleByCurrent(GraphPass):
    """Make QuantizeDelayed nodes that have no state QuantizeScaled: the tensor at hand decides."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [n for graph in all_graphs(model) for n in graph if _is_delayed(n)]
        found = [node for node in found if node.inputs[1] is None]
        for node in found:
            step = node.inputs[2] if len(node.inputs) > 2 else None
            node.op_type = SCALED
            node.resize_inputs(1 if step is None else 2)
            if step is not None:
                node.replace_input_with(1, step)
            for name in ("history", "amax"):
                node.attributes.pop(name, None)
        if found:
            self.report.notes.append(
                "scaled by their own largest magnitude, as only training keeps that of the steps "
                f"before: {len(found)} of the tensors under delayed scaling."
            )
        return ir.passes.PassResult(model, modified=bool(found))


def _is_delayed(node: ir.Node) -> bool:
    return node.domain == DOMAIN and node.op_type == DELAYED


def _name(node: ir.Node) -> str:
    return f"{(node.name or '').removesuffix('_quantize')}{_STATE}"


def _cast(node: ir.Node) -> ScaledCast:
    return attributes_delayed({name: a.value for name, a in node.attributes.items()})


def _state(node: ir.Node) -> ir.Value:
    """The state, now an input of the node."""
    shape = ir.Shape(first_state(_cast(node)).shape)
    state = ir.Value(name=_name(node), type=_FLOAT, shape=shape)
    mark_kind(state, BUFFER)
    node.replace_input_with(1, state)
    return state

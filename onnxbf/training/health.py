"""Numeric health: what roundings did to numbers in a step, and what the update did to weights.

What is counted is defined in docs/numeric_health.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from onnxbf.custom_ops.attributes import attributes_cast
from onnxbf.custom_ops.quantizers import applied_cast
from onnxbf.formats import Cast
from onnxbf.graph import ROLE_KEY, Phase, is_parameter, phase_of
from onnxbf.operators import Kind, find_operator
from onnxbf.passes.eliminate_redundant import EliminateRedundant
from onnxbf.passes.expose_roundings import ExposeRoundings
from onnxbf.passes.observe_roundings import ROUNDINGS, ObserveRoundings
from onnxbf.passes.observe_updates import UPDATES, ObserveUpdates
from onnxbf.passes.representable import node_cast
from onnxbf.report import Report
from onnxbf.training.unobserved import find_unobserved

Measured = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class NodeHealth:
    """What one quantize node did in one step.

    Attributes:
        step: which update it belongs to, from 0.
        node: the quantize node.
        tensor: what it rounds.
        role: what that is to the node that it was rounded for: inputs, weights, outputs ...
        phase: the part of the step in which the rounded tensor is read first.
        cast: how it rounds.
        elements: how many numbers, of all batches of the step.
        overflow, saturated, underflow, nan: how many of them met that fate.
        snr_db: the signal-to-noise ratio in dB; None where rounding changed no finite number.
    """

    step: int
    node: str
    tensor: str
    role: str
    phase: str
    cast: str
    elements: int
    overflow: int
    saturated: int
    underflow: int
    nan: int
    snr_db: float | None

    def record(self) -> dict[str, Any]:
        """What a line of the log holds."""
        return {"kind": "rounding", **asdict(self)}

    def scalars(self) -> dict[str, float]:
        """Curves to draw, by name: shares of the elements, and the signal-to-noise ratio."""
        names = ("overflow", "saturated", "underflow", "nan")
        curves = {name: _share(getattr(self, name), self.elements) or 0.0 for name in names}
        if self.snr_db is not None:
            curves["snr_db"] = self.snr_db
        return {f"{name}/{self.node}": number for name, number in curves.items()}


@dataclass(frozen=True, slots=True)
class UpdateHealth:
    """What one update did to one parameter.

    Attributes:
        step: which update, from 0.
        parameter: its name.
        cast: how the network rounds its copy of the parameter.
        elements: how many weights.
        updated: how many of them had an update other than zero.
        swallowed: how many of those stayed what they were.
        unseen: of how many of those the network's copy did.
        descent: how much of the intended update took place: the sum of what was taken off weights
            times their updates, over that of the updates' squares. 1 where nothing is lost; None
            where no weight had an update. Times the norm of the update, it is Collage's effective
            descent quality.
    """

    step: int
    parameter: str
    cast: str
    elements: int
    updated: int
    swallowed: int
    unseen: int
    descent: float | None

    def record(self) -> dict[str, Any]:
        """What a line of the log holds; shares are None where no weight had an update."""
        return {
            "kind": "update",
            **asdict(self),
            "swallowed_share": _share(self.swallowed, self.updated),
            "unseen_share": _share(self.unseen, self.updated),
        }

    def scalars(self) -> dict[str, float]:
        """Curves to draw, by name: shares of the weights that had an update."""
        shares = {
            f"swallowed/{self.parameter}": _share(self.swallowed, self.updated),
            f"unseen/{self.parameter}": _share(self.unseen, self.updated),
            f"descent/{self.parameter}": self.descent,
        }
        return {name: share for name, share in shares.items() if share is not None}


Health = NodeHealth | UpdateHealth


class Observer:
    """The observing forms of a gradient and an update graph, which stay as they are.

    Attributes:
        models: the two, to be run where a step is measured.
        unobserved: roundings that are not measured.

    Raises:
        UnsupportedError: a rounding that was written as a pair of Cast nodes.
    """

    def __init__(self, gradient: ir.Model, update: ir.Model) -> None:
        self.models = gradient.clone(), update.clone()
        self.unobserved = find_unobserved(gradient)
        if ExposeRoundings(Report("none"))(self.models[0]).modified:
            EliminateRedundant(Report("none"))(self.models[0])
        copies = dict(_copies(self.models[0]))
        ObserveRoundings(Report("none"))(self.models[0])
        ObserveUpdates(Report("none"), copies)(self.models[1])
        self._roundings = [_about_rounding(n) for n in _observing(self.models[0], ROUNDINGS)]
        self._updates = [_about_update(n) for n in _observing(self.models[1], UPDATES)]

    def read(self, measured: Measured, step: int) -> list[Health]:
        """What was measured in a step, node by node."""
        nodes, parameters = _rows(measured, ROUNDINGS), _rows(measured, UPDATES)
        return [
            *(_node_health(step, about, row) for about, row in zip(self._roundings, nodes)),
            *(_update_health(step, about, row) for about, row in zip(self._updates, parameters)),
        ]


def _observing(model: ir.Model, kind: str) -> list[ir.Node]:
    """The nodes that measure, in the order of the outputs that tell it."""
    values = [v for v in model.graph.outputs if (v.name or "").startswith(f"{kind}/")]
    return [node for value in values if (node := value.producer())]


def _rows(measured: Measured, kind: str) -> list[list[float]]:
    return measured[kind].tolist() if kind in measured else []


def _about_rounding(node: ir.Node) -> tuple[str, ...]:
    """The node, the tensor, its role, the phase and the cast: what no step changes."""
    role = node.metadata_props.get(ROLE_KEY, "")
    cast = applied_cast(node.op_type, _attributes(node))
    return node.name or "", _input_name(node, 0), role, _phase(node).value, str(cast)


def _about_update(node: ir.Node) -> tuple[str, ...]:
    """The parameter and the cast of its copy."""
    return _input_name(node, 1), str(attributes_cast(_attributes(node)))


def _input_name(node: ir.Node, index: int) -> str:
    value = node.inputs[index]
    return (value.name if value else None) or ""


def _node_health(step: int, about: tuple[str, ...], row: list[float]) -> NodeHealth:
    node, tensor, role, phase, cast = about
    elements, overflow, saturated, underflow, nan = map(int, row[:5])
    signal, noise = row[5:]
    snr_db = 10 * math.log10(signal / noise) if signal and noise else None
    return NodeHealth(
        step, node, tensor, role, phase, cast, elements, overflow, saturated, underflow, nan, snr_db
    )


def _update_health(step: int, about: tuple[str, ...], row: list[float]) -> UpdateHealth:
    parameter, cast = about
    elements, updated, swallowed, unseen = map(int, row[:4])
    descent = row[4] / row[5] if row[5] else None
    return UpdateHealth(step, parameter, cast, elements, updated, swallowed, unseen, descent)


def _attributes(node: ir.Node) -> dict[str, Any]:
    return {name: attribute.value for name, attribute in node.attributes.items()}


def _phase(node: ir.Node) -> Phase:
    """The first in which a rounded tensor is read; where none is, that in which it is computed."""
    readers = {phase_of(reader) for reader, _ in node.outputs[0].uses()}
    source = node.inputs[0]
    producer = None if source is None else source.producer()
    if not readers:
        return Phase.FORWARD if producer is None else phase_of(producer)
    return min(readers, key=list(Phase).index)


def _copies(gradient: ir.Model) -> Iterator[tuple[str, Cast]]:
    """How the network rounds its copies of parameters."""
    for value in gradient.graph.inputs:
        cast = _copy_cast(value) if is_parameter(value) else None
        if cast is not None:
            yield value.name or "", cast


def _copy_cast(value: ir.Value) -> Cast | None:
    """The cast that a value meets first, seen through nodes that only move it."""
    for reader, index in value.uses():
        cast = node_cast(reader)
        operator = find_operator(reader.domain, reader.op_type)
        if cast is None and operator is not None and operator.kind is Kind.MOVEMENT:
            cast = _copy_cast(reader.outputs[0]) if operator.carries_input(index) else None
        if cast is not None:
            return cast
    return None


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None

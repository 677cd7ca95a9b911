"""Stamp every node of a gradient graph with its part in the training step.

ONNX Runtime's gradient builder names the nodes that differentiate node ``f`` ``f_Grad/...``, the
gradient of value ``x`` ``x_grad`` (its parts ``x_grad_0``, ``x_grad_1`` ...), and the sum of parts
``AccumulateGrad_x_grad``. A backward node belongs to the weight gradient where all that it leads to
are gradients of values computed from parameters alone, and to the input gradient otherwise.

The training models of its own artifact generator add every gradient of a parameter ``w`` to an
input ``w_grad.accumulation.buffer`` by a node InPlaceAccumulatorV2. Their inputs are the batch, the
parameters, those that are frozen among them, and these buffers, in this order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from onnxbf.graph import (
    BUFFER,
    GRADIENT_OF,
    PARAMETER,
    PHASE_KEY,
    SUM_OF,
    Phase,
    is_parameter,
    mark_kind,
)
from onnxbf.passes.base import GraphPass

_BACKWARD = re.compile(rf"{GRADIENT_OF}|^{SUM_OF}")
_ACCUMULATOR = "InPlaceAccumulatorV2"
_SUM = "_grad.accumulation.buffer"
_STATISTICS = frozenset({("BatchNormInternal", 3), ("BatchNormInternal", 4)})
_GRADIENT = re.compile(r"(?P<value>.+?)_grad(?:_\d+)?")


def is_gradient_graph(model: ir.Model) -> bool:
    """Whether ONNX Runtime's gradient builder made this model."""
    return any(_BACKWARD.search(node.name or "") for node in model.graph)


@dataclass(frozen=True)
class StampPhases(GraphPass):
    """Stamp the main graph's nodes, and mark the inputs that are parameters.

    Parameters are the inputs of which there is a gradient, where none are marked yet: so graphs
    that ONNX Runtime's own tools made are understood as well. Of its training models, inputs that
    stand among the parameters without a gradient are frozen parameters, or running statistics.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        if not is_gradient_graph(model) or _is_stamped(model):
            return ir.passes.PassResult(model, modified=False)
        _mark_parameters(model.graph)
        graph = _Gradients.of(model.graph)
        for node in reversed(model.graph):
            node.metadata_props[PHASE_KEY] = graph.phase(node).value
        return ir.passes.PassResult(model, modified=True)


def _is_stamped(model: ir.Model) -> bool:
    return any(PHASE_KEY in node.metadata_props for node in model.graph)


def _mark_parameters(graph: ir.Graph) -> None:
    if any(is_parameter(value) for value in graph.inputs):
        return
    computed = {value.name for node in graph for value in node.outputs}
    trained = [value for value in graph.inputs if f"{value.name}_grad" in computed]
    for value in (*trained, *_frozen(graph, trained)):
        uses = {(node.op_type, index) for node, index in value.uses()}
        mark_kind(value, BUFFER if uses and uses <= _STATISTICS else PARAMETER)


def _frozen(graph: ir.Graph, trained: Sequence[ir.Value]) -> Sequence[ir.Value]:
    """The inputs between the first parameter and the first sum of gradients.

    Those that are frozen before the first that is trained cannot be told from the batch.
    """
    sums = [i for i, value in enumerate(graph.inputs) if (value.name or "").endswith(_SUM)]
    if not trained or not sums:
        return ()
    return [
        value
        for value in graph.inputs[: sums[0]][graph.inputs.index(trained[0]) :]
        if value not in trained
    ]


@dataclass(frozen=True)
class _Gradients:
    forward: dict[str, ir.Value]
    on_data: frozenset[ir.Value]  # forward values that depend on the batch
    phases: dict[ir.Node, Phase] = field(default_factory=dict)

    @classmethod
    def of(cls, graph: ir.Graph) -> _Gradients:
        forward = {value.name: value for value in graph.inputs if value.name}
        forward.update((name, value) for name, value in graph.initializers.items())
        on_data = {value for value in graph.inputs if not is_parameter(value)}
        for node in graph:
            if _is_backward(node):
                continue
            depends = any(value in on_data for value in node.inputs)
            forward.update((value.name, value) for value in node.outputs if value.name)
            on_data.update(node.outputs if depends else ())
        return cls(forward, frozenset(on_data))

    def phase(self, node: ir.Node) -> Phase:
        """The phase of a node whose readers have theirs already."""
        if not _is_backward(node):
            return Phase.FORWARD
        if node.op_type == _ACCUMULATOR:
            return Phase.WEIGHT_GRADIENT
        found = {part for value in node.outputs for part in self.leads_to(value)}
        self.phases[node] = (
            Phase.WEIGHT_GRADIENT if found == {Phase.WEIGHT_GRADIENT} else Phase.INPUT_GRADIENT
        )
        return self.phases[node]

    def leads_to(self, value: ir.Value) -> Iterator[Phase]:
        """The phases of the gradients that a backward value is, or is a part of."""
        match = _GRADIENT.fullmatch(value.name or "")
        source = self.forward.get(match["value"]) if match else None
        if source is not None:
            on_data = source in self.on_data
            yield Phase.INPUT_GRADIENT if on_data else Phase.WEIGHT_GRADIENT
            return
        for reader, _ in value.uses():
            yield self.phases.get(reader, Phase.INPUT_GRADIENT)


def _is_backward(node: ir.Node) -> bool:
    return node.op_type == _ACCUMULATOR or _BACKWARD.search(node.name or "") is not None

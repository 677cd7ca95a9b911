"""Unroll LSTM, GRU and RNN nodes into the matrix products and gates of each step.

Hardware that computes in BF16 rounds at every step; rounding around the whole node does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxbf.builder import Builder
from onnxbf.graph import REFUSAL_KEY, Names, all_graphs, constant_of, replace_node
from onnxbf.passes.base import GraphPass
from onnxbf.passes.recurrent_cells import ACTIVATIONS, Activation, Cell, Write, gru, lstm, rnn

Step = Callable[[Builder, Cell, ir.Value, Sequence[ir.Value]], list[ir.Value]]


@dataclass(frozen=True)
class _Kind:
    step: Step
    gates: int
    states: int
    activations: tuple[str, ...]


_KINDS = {
    "LSTM": _Kind(lstm, 4, 2, ("Sigmoid", "Tanh", "Tanh")),
    "GRU": _Kind(gru, 3, 1, ("Sigmoid", "Tanh")),
    "RNN": _Kind(rnn, 1, 1, ("Tanh",)),
}


@dataclass(frozen=True)
class UnrollRecurrent(GraphPass):
    """Replace recurrent nodes whose sequence length is fixed; shapes have to be inferred before.

    The weights stay the same initializers, taken apart by nodes, so that they train. A node that
    cannot be unrolled stays, and a warning says why.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        names = Names(model)
        found = [n for graph in all_graphs(model) for n in graph if n.op_type in _KINDS]
        unrolled = [node for node in found if self.unroll(node, names)]
        return ir.passes.PassResult(model, modified=bool(unrolled))

    def unroll(self, node: ir.Node, names: Names) -> bool:
        reason = _obstacle(node)
        if reason:
            told = f"{node.op_type} node {node.name!r} stays whole: {reason}"
            self.report.warnings.append(told)
            node.metadata_props[REFUSAL_KEY] = f"{told} So it cannot be differentiated."
            return False
        recurrence = _Recurrence(node, Builder(names, node.name or node.op_type))
        results = recurrence.results()
        replace_node(node, recurrence.b.nodes, results)
        return True


def _obstacle(node: ir.Node) -> str:
    """Why a node cannot be unrolled; empty if it can."""
    if _length(node) is None:
        return "its sequence length is not fixed. Export the model with a fixed length."
    if _hidden(node) is None:
        return "its hidden size is not known. State it in the node's attribute hidden_size."
    lengths = _input(node, 4)
    constant = None if lengths is None else constant_of(lengths)
    if lengths is not None and (constant is None or (constant.numpy() != _length(node)).any()):
        return "its sequences differ in length (input sequence_lens)."
    unknown = [name for name in _activation_names(node) if name not in ACTIVATIONS]
    return f"activation {unknown[0]!r} is unknown." if unknown else ""


def _input(node: ir.Node, index: int) -> ir.Value | None:
    return node.inputs[index] if index < len(node.inputs) else None


def _is_zero(value: ir.Value) -> bool:
    constant = constant_of(value)
    return constant is not None and not constant.numpy().any()


def _length(node: ir.Node) -> int | None:
    x = node.inputs[0]
    if x is None or x.shape is None or len(x.shape) != 3:
        return None
    size = x.shape[1 if _number(node, "layout", 0) else 0]
    return size if isinstance(size, int) else None


def _hidden(node: ir.Node) -> int | None:
    """The attribute, or the last size of R, (directions, gates x hidden, hidden)."""
    stated = node.attributes.get("hidden_size")
    weights = node.inputs[2]
    if stated is not None:
        return stated.as_int()
    size = None if weights is None or weights.shape is None else weights.shape[2]
    return size if isinstance(size, int) else None


def _number(node: ir.Node, name: str, default: int) -> int:
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_int()


def _floats(node: ir.Node, name: str) -> Sequence[float]:
    attribute = node.attributes.get(name)
    return () if attribute is None else attribute.as_floats()


def _direction(node: ir.Node) -> str:
    attribute = node.attributes.get("direction")
    return "forward" if attribute is None else attribute.as_string()


def _activation_names(node: ir.Node) -> list[str]:
    attribute = node.attributes.get("activations")
    if attribute is None:
        count = 2 if _direction(node) == "bidirectional" else 1
        return [*_KINDS[node.op_type].activations] * count
    known = {name.casefold(): name for name in ACTIVATIONS}
    return [known.get(text.casefold(), text) for text in attribute.as_strings()]


def _activations(node: ir.Node) -> list[Activation]:
    """The activations of all directions; each takes its alpha and beta off the front of a list."""
    alphas, betas = [*_floats(node, "activation_alpha")], [*_floats(node, "activation_beta")]
    made: list[Activation] = []
    for name in _activation_names(node):
        write, defaults = ACTIVATIONS[name]
        numbers = [
            given.pop(0) if given else default for given, default in zip((alphas, betas), defaults)
        ]
        alpha, beta = (*numbers, 0.0, 0.0)[:2]
        made.append(_applied(write, alpha, beta))
    return made


def _applied(write: Write, alpha: float, beta: float) -> Activation:
    return lambda b, x: write(b, x, alpha, beta)


class _Recurrence:
    """One node being unrolled."""

    def __init__(self, node: ir.Node, b: Builder) -> None:
        self.node, self.b = node, b
        self.kind = _KINDS[node.op_type]
        self.hidden = _hidden(node) or 0
        self.batch_first = bool(_number(node, "layout", 0))
        x = node.inputs[0]
        assert x is not None
        self.x: ir.Value = b.Transpose(x, perm=[1, 0, 2]) if self.batch_first else x
        self.length = _length(node) or 0
        self.parts: dict[int, list[ir.Value | None]] = {}
        self.directions = 2 if _direction(node) == "bidirectional" else 1

    def results(self) -> list[ir.Value]:
        """Y, Y_h and, for an LSTM, Y_c."""
        b = self.b
        runs = [self.run(direction) for direction in range(self.directions)]
        every = [b.Concat(*hidden, axis=0) for hidden, _ in runs]  # (length, batch, hidden) each
        y = b.Concat(*(b.Unsqueeze(part, b.integers(1)) for part in every), axis=1)
        lasts = [
            b.Concat(*(b.Unsqueeze(states[index], b.integers(0)) for _, states in runs), axis=0)
            for index in range(self.kind.states)
        ]
        if not self.batch_first:
            return [y, *lasts]
        turned = [b.Transpose(last, perm=[1, 0, 2]) for last in lasts]
        return [b.Transpose(y, perm=[2, 0, 1, 3]), *turned]

    def run(self, direction: int) -> tuple[list[ir.Value], list[ir.Value]]:
        """The hidden state of every step, as (1, batch, hidden), and the last states."""
        b = self.b
        backward = _direction(self.node) == "reverse" or direction == 1
        side = b.within("backward" if backward else "forward")
        biases = self.biases(side, direction)
        inputs = self.products(side, direction, biases[0])
        cell = self.cell(side, direction, biases[1])
        states = [self.initial(side, 5 + index, direction) for index in range(self.kind.states)]
        order = range(self.length)
        hidden: dict[int, ir.Value] = {}
        for step in reversed(order) if backward else order:
            at = side.within(f"step_{step}")
            states = self.kind.step(at, cell, inputs[step], states)
            hidden[step] = at.Unsqueeze(states[0], at.integers(0))
        return [hidden[step] for step in order], states

    def cell(self, b: Builder, direction: int, bias: ir.Value | None) -> Cell:
        recurrence = self.part(2, direction)
        assert recurrence is not None
        peepholes = self.part(7, direction) if self.node.op_type == "LSTM" else None
        clip = self.node.attributes.get("clip")
        each = len(self.kind.activations)
        return Cell(
            self.hidden,
            recurrence,
            bias,
            _activations(self.node)[direction * each : (direction + 1) * each],
            ()
            if peepholes is None
            else b.Split(peepholes, b.integers(*[self.hidden] * 3), axis=0, outputs=3),
            None if clip is None else clip.as_float(),
            bool(_number(self.node, "input_forget", 0)),
            bool(_number(self.node, "linear_before_reset", 0)),
        )

    def products(self, b: Builder, direction: int, bias: ir.Value | None) -> Sequence[ir.Value]:
        """The input's product of every step, (batch, gates x hidden): one matrix product in all."""
        width = self.kind.gates * self.hidden
        weights = self.part(1, direction)
        size = b.constant([-1], ir.DataType.INT64)
        x_size = b.Slice(b.Shape(self.x), b.integers(2), b.integers(3))
        rows = b.Reshape(self.x, b.Concat(size, x_size, axis=0))
        added = [] if bias is None else [bias]
        product = b.node("Gemm", [rows, weights, *added], transB=1)
        steps = b.Reshape(product, b.integers(self.length, -1, width))
        if self.length == 1:
            return [b.Squeeze(steps, b.integers(0))]
        parts = b.Split(steps, b.integers(*[1] * self.length), axis=0, outputs=self.length)
        return [b.Squeeze(part, b.integers(0)) for part in parts]

    def biases(self, b: Builder, direction: int) -> Sequence[ir.Value | None]:
        """The biases of the input's and of the state's product."""
        bias, width = self.part(3, direction), self.kind.gates * self.hidden
        if bias is None:
            return [None, None]
        parts: Sequence[ir.Value] = b.Split(bias, b.integers(width, width), axis=0, outputs=2)
        return parts

    def part(self, index: int, direction: int) -> ir.Value | None:
        """One direction's part of an input whose first axis is the direction."""
        if index not in self.parts:
            self.parts[index] = self.split(_input(self.node, index))
        return self.parts[index][direction]

    def split(self, value: ir.Value | None) -> list[ir.Value | None]:
        """The parts of all directions, taken apart once: of weights, the gradients add up."""
        b = self.b
        if value is None:
            return [None] * self.directions
        if self.directions == 1:
            return [b.Squeeze(value, b.integers(0))]
        parts = b.Split(value, b.integers(1, 1), axis=0, outputs=2)
        return [b.Squeeze(part, b.integers(0)) for part in parts]

    def initial(self, b: Builder, index: int, direction: int) -> ir.Value:
        """A first state, (batch, hidden): zeros where the node is given none, or constant zeros.

        Exporters write zeros down for one size of batch; they are no parameter.
        """
        value = _input(self.node, index)
        if value is None or _is_zero(value):
            batch = b.Slice(b.Shape(self.x), b.integers(1), b.integers(2))
            shape = b.Concat(batch, b.integers(self.hidden), axis=0)
            zeros: ir.Value = b.ConstantOfShape(shape, value=ir.tensor([0.0]))
            return zeros
        if self.batch_first:
            value = b.Transpose(value, perm=[1, 0, 2])
        at = b.constant(direction, ir.DataType.INT64)
        chosen: ir.Value = b.Gather(value, at, axis=0)
        return chosen

"""Unroll LSTM, GRU and RNN nodes into the matrix products and gates of each step.

Hardware that computes in BF16 rounds at every step; rounding around the whole node does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxbf.builder import Builder
from onnxbf.graph import Names, all_graphs, constant_of, replace_node
from onnxbf.passes.base import GraphPass
from onnxbf.passes.recurrent_cells import ACTIVATIONS, Activation, Cell, Write, gru, lstm, rnn
from onnxbf.passes.recurrent_node import (
    KINDS,
    Recurrence,
    direction_of,
    hidden_of,
    input_of,
    length_of,
)

Step = Callable[[Builder, Cell, ir.Value, Sequence[ir.Value]], list[ir.Value]]

_STEPS: dict[str, Step] = {"LSTM": lstm, "GRU": gru, "RNN": rnn}


@dataclass(frozen=True)
class UnrollRecurrent(GraphPass):
    """Replace recurrent nodes whose sequence length is fixed; shapes have to be inferred before.

    The weights stay the same initializers, taken apart by nodes, so that they train. A node that
    cannot be unrolled stays, and a warning says why.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        names = Names(model)
        found = [n for graph in all_graphs(model) for n in graph if n.op_type in KINDS]
        unrolled = [node for node in found if self.unroll(node, names)]
        return ir.passes.PassResult(model, modified=bool(unrolled))

    def unroll(self, node: ir.Node, names: Names) -> bool:
        reason = _obstacle(node)
        if reason:
            self.report.warnings.append(f"{node.op_type} node {node.name!r} stays whole: {reason}")
            return False
        recurrence = _Unrolled(node, Builder(names, node.name or node.op_type))
        results = recurrence.results()
        replace_node(node, recurrence.b.nodes, results)
        return True


def _obstacle(node: ir.Node) -> str:
    """Why a node cannot be unrolled; empty if it can."""
    if length_of(node) is None:
        return "its sequence length is not fixed. Export the model with a fixed length."
    if hidden_of(node) is None:
        return "its hidden size is not known. State it in the node's attribute hidden_size."
    lengths = input_of(node, 4)
    constant = None if lengths is None else constant_of(lengths)
    if lengths is not None and (constant is None or (constant.numpy() != length_of(node)).any()):
        return "its sequences differ in length (input sequence_lens)."
    unknown = [name for name in _activation_names(node) if name not in ACTIVATIONS]
    return f"activation {unknown[0]!r} is unknown." if unknown else ""


def _activation_names(node: ir.Node) -> list[str]:
    stated = node.attributes.get_strings("activations", None)
    if stated is None:
        count = 2 if direction_of(node) == "bidirectional" else 1
        return [*KINDS[node.op_type].activations] * count
    known = {name.casefold(): name for name in ACTIVATIONS}
    return [known.get(text.casefold(), text) for text in stated]


def _floats(node: ir.Node, name: str) -> Sequence[float]:
    return node.attributes.get_floats(name, ())


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


class _Unrolled(Recurrence):
    """One node as the products and gates of each step."""

    def __init__(self, node: ir.Node, b: Builder) -> None:
        super().__init__(node, b)
        self.length = length_of(node) or 0

    def results(self) -> list[ir.Value]:
        """Y, Y_h and, for an LSTM, Y_c."""
        return self.put_together([self.run(direction) for direction in range(self.directions)])

    def run(self, direction: int) -> tuple[ir.Value, list[ir.Value]]:
        """The hidden state of every step, (length, batch, hidden), and the last states."""
        backward = self.is_backward(direction)
        side = self.b.within("backward" if backward else "forward")
        biases = self.biases(side, direction)
        inputs = self.products(side, direction, biases[0])
        cell = self.cell(side, direction, biases[1])
        states = [self.initial(side, 5 + index, direction) for index in range(self.kind.states)]
        order = range(self.length)
        hidden: dict[int, ir.Value] = {}
        for step in reversed(order) if backward else order:
            at = side.within(f"step_{step}")
            states = _STEPS[self.node.op_type](at, cell, inputs[step], states)
            hidden[step] = at.Unsqueeze(states[0], at.integers(0))
        return side.Concat(*(hidden[step] for step in order), axis=0), states

    def cell(self, b: Builder, direction: int, bias: ir.Value | None) -> Cell:
        recurrence = self.part(2, direction)
        assert recurrence is not None
        peepholes = self.part(7, direction) if self.node.op_type == "LSTM" else None
        each = len(self.kind.activations)
        return Cell(
            self.hidden,
            recurrence,
            bias,
            _activations(self.node)[direction * each : (direction + 1) * each],
            ()
            if peepholes is None
            else b.Split(peepholes, b.integers(*[self.hidden] * 3), axis=0, outputs=3),
            self.node.attributes.get_float("clip", None),
            bool(self.node.attributes.get_int("input_forget", 0)),
            bool(self.node.attributes.get_int("linear_before_reset", 0)),
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

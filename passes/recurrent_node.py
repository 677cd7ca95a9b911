"""What LSTM, GRU and RNN nodes say, and how their parts are put together again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxbf.builder import Builder
from onnxbf.graph import constant_of


@dataclass(frozen=True, slots=True)
class Kind:
    """How many gates and states an operator has, and its activations unless a node states them."""

    gates: int
    states: int
    activations: tuple[str, ...]


KINDS = {
    "LSTM": Kind(4, 2, ("Sigmoid", "Tanh", "Tanh")),
    "GRU": Kind(3, 1, ("Sigmoid", "Tanh")),
    "RNN": Kind(1, 1, ("Tanh",)),
}


def input_of(node: ir.Node, index: int) -> ir.Value | None:
    return node.inputs[index] if index < len(node.inputs) else None


def _is_zero(value: ir.Value) -> bool:
    constant = constant_of(value)
    return constant is not None and not constant.numpy().any()


def length_of(node: ir.Node) -> int | None:
    x = node.inputs[0]
    if x is None or x.shape is None or len(x.shape) != 3:
        return None
    size = x.shape[1 if node.attributes.get_int("layout", 0) else 0]
    return size if isinstance(size, int) else None


def hidden_of(node: ir.Node) -> int | None:
    """The attribute, or the last size of R, (directions, gates x hidden, hidden)."""
    stated = node.attributes.get_int("hidden_size", None)
    weights = node.inputs[2]
    if stated is not None:
        return stated
    size = None if weights is None or weights.shape is None else weights.shape[2]
    return size if isinstance(size, int) else None


def direction_of(node: ir.Node) -> str:
    return node.attributes.get_string("direction", "forward")


def is_initial_state(value: ir.Value) -> bool:
    """Whether recurrent nodes begin with a value, and nothing else reads it."""
    return all(node.op_type in KINDS and index in (5, 6) for node, index in value.uses())


class Recurrence:
    """One node being written out; ``x`` is its input with the steps first."""

    def __init__(self, node: ir.Node, b: Builder) -> None:
        self.node, self.b = node, b
        self.kind = KINDS[node.op_type]
        self.hidden = hidden_of(node) or 0
        self.batch_first = bool(node.attributes.get_int("layout", 0))
        x = node.inputs[0]
        assert x is not None
        self.x: ir.Value = b.Transpose(x, perm=[1, 0, 2]) if self.batch_first else x
        self.parts: dict[int, list[ir.Value | None]] = {}
        self.directions = 2 if direction_of(node) == "bidirectional" else 1

    def is_backward(self, direction: int) -> bool:
        return direction_of(self.node) == "reverse" or direction == 1

    def put_together(self, runs: Sequence[tuple[ir.Value, Sequence[ir.Value]]]) -> list[ir.Value]:
        """Y, Y_h and, for an LSTM, Y_c, out of what each direction gives.

        That is the hidden state of every step, (length, batch, hidden), and the last states, each
        (batch, hidden).
        """
        b = self.b
        y = b.Concat(*(b.Unsqueeze(every, b.integers(1)) for every, _ in runs), axis=1)
        lasts = [
            b.Concat(*(b.Unsqueeze(states[index], b.integers(0)) for _, states in runs), axis=0)
            for index in range(self.kind.states)
        ]
        if not self.batch_first:
            return [y, *lasts]
        turned = [b.Transpose(last, perm=[1, 0, 2]) for last in lasts]
        return [b.Transpose(y, perm=[2, 0, 1, 3]), *turned]

    def part(self, index: int, direction: int) -> ir.Value | None:
        """One direction's part of an input whose first axis is the direction."""
        if index not in self.parts:
            self.parts[index] = self.split(input_of(self.node, index))
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
        value = input_of(self.node, index)
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

"""One step of LSTM, GRU and RNN in plain operators (ONNX operators of these names, their formulas).

A gate's rows of the weights stand in the order of ONNX: i o f c (LSTM), z r h (GRU).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from onnxbf.builder import Builder

Activation = Callable[[Builder, ir.Value], ir.Value]
Write = Callable[[Builder, ir.Value, float, float], ir.Value]


@dataclass(frozen=True)
class Cell:
    """The weights and activations of one direction.

    Attributes:
        recurrence: (gates x hidden, hidden).
        recurrence_bias: (gates x hidden).
        peepholes: three tensors of (hidden) for the gates i, o, f; or none.
        clip: the bound of what activations are given; None: none.
    """

    hidden: int
    recurrence: ir.Value
    recurrence_bias: ir.Value | None
    activations: Sequence[Activation]
    peepholes: Sequence[ir.Value] = ()
    clip: float | None = None
    input_forget: bool = False
    linear_before_reset: bool = False

    def product(
        self, b: Builder, state: ir.Value, weights: ir.Value, bias: ir.Value | None
    ) -> ir.Value:
        """State weights^T + bias."""
        inputs = [state, weights] if bias is None else [state, weights, bias]
        value: ir.Value = b.node("Gemm", inputs, transB=1)
        return value

    def activate(self, b: Builder, index: int, value: ir.Value) -> ir.Value:
        if self.clip is not None:
            value = b.Clip(value, b.constant(-self.clip), b.constant(self.clip))
        return self.activations[index](b, value)


def lstm(b: Builder, cell: Cell, x: ir.Value, states: Sequence[ir.Value]) -> list[ir.Value]:
    """The next hidden and cell state; ``x`` is the input's product, (batch, 4 x hidden)."""
    hidden, memory = states
    gates = b.Add(x, cell.product(b, hidden, cell.recurrence, cell.recurrence_bias))
    i, o, f, c = split(b, gates, 4, cell.hidden)
    if cell.peepholes:
        i = b.Add(i, b.Mul(cell.peepholes[0], memory))
        f = b.Add(f, b.Mul(cell.peepholes[2], memory))
    i = cell.activate(b, 0, i)
    f = b.Sub(b.constant(1.0), i) if cell.input_forget else cell.activate(b, 0, f)
    following = b.Add(b.Mul(f, memory), b.Mul(i, cell.activate(b, 1, c)))
    if cell.peepholes:
        o = b.Add(o, b.Mul(cell.peepholes[1], following))
    opened = cell.activate(b, 0, o)
    return [b.Mul(opened, cell.activations[2](b, following)), following]


def gru(b: Builder, cell: Cell, x: ir.Value, states: Sequence[ir.Value]) -> list[ir.Value]:
    """The next hidden state; ``x`` is the input's product, (batch, 3 x hidden)."""
    (hidden,) = states
    x_z, x_r, x_h = split(b, x, 3, cell.hidden)
    if cell.linear_before_reset:
        all_gates = cell.product(b, hidden, cell.recurrence, cell.recurrence_bias)
        h_z, h_r, h_h = split(b, all_gates, 3, cell.hidden)
        reset = cell.activate(b, 0, b.Add(x_r, h_r))
        candidate = b.Add(x_h, b.Mul(reset, h_h))
    else:
        gates, last, gates_bias, last_bias = gru_parts(b, cell)
        h_z, h_r = split(b, cell.product(b, hidden, gates, gates_bias), 2, cell.hidden)
        reset = cell.activate(b, 0, b.Add(x_r, h_r))
        candidate = b.Add(x_h, cell.product(b, b.Mul(reset, hidden), last, last_bias))
    update = cell.activate(b, 0, b.Add(x_z, h_z))
    new = cell.activate(b, 1, candidate)
    kept = b.Sub(b.constant(1.0), update)
    return [b.Add(b.Mul(kept, new), b.Mul(update, hidden))]


def gru_parts(
    b: Builder, cell: Cell
) -> tuple[ir.Value, ir.Value, ir.Value | None, ir.Value | None]:
    """Weights and biases of the gates z and r, and of the candidate."""
    sizes = b.integers(2 * cell.hidden, cell.hidden)
    gates, last = b.Split(cell.recurrence, sizes, axis=0, outputs=2)
    if cell.recurrence_bias is None:
        return gates, last, None, None
    return gates, last, *b.Split(cell.recurrence_bias, sizes, axis=0, outputs=2)


def rnn(b: Builder, cell: Cell, x: ir.Value, states: Sequence[ir.Value]) -> list[ir.Value]:
    """The next hidden state; ``x`` is the input's product, (batch, hidden)."""
    (hidden,) = states
    gate = b.Add(x, cell.product(b, hidden, cell.recurrence, cell.recurrence_bias))
    return [cell.activate(b, 0, gate)]


def split(b: Builder, value: ir.Value, count: int, size: int) -> Sequence[ir.Value]:
    """Equal parts of the last of two axes."""
    if count == 1:
        return [value]
    parts: Sequence[ir.Value] = b.Split(value, b.integers(*[size] * count), axis=1, outputs=count)
    return parts


def _affine(b: Builder, x: ir.Value, alpha: float, beta: float) -> ir.Value:
    value: ir.Value = b.Add(b.Mul(x, b.constant(alpha)), b.constant(beta))
    return value


def _scaled_tanh(b: Builder, x: ir.Value, alpha: float, beta: float) -> ir.Value:
    value: ir.Value = b.Mul(b.Tanh(b.Mul(x, b.constant(beta))), b.constant(alpha))
    return value


def _plain(op_type: str, *attributes: str) -> Write:
    def apply(b: Builder, x: ir.Value, alpha: float, beta: float) -> ir.Value:
        numbers: dict[str, Any] = {"alpha": alpha, "beta": beta}
        value: ir.Value = b.node(op_type, [x], **{name: numbers[name] for name in attributes})
        return value

    return apply


# How each activation is written, and alpha and beta where the node states none (ONNX, RNN).
ACTIVATIONS: dict[str, tuple[Write, Sequence[float]]] = {
    "Relu": (_plain("Relu"), ()),
    "Tanh": (_plain("Tanh"), ()),
    "Sigmoid": (_plain("Sigmoid"), ()),
    "Softsign": (_plain("Softsign"), ()),
    "Softplus": (_plain("Softplus"), ()),
    "Elu": (_plain("Elu", "alpha"), (1.0,)),
    "LeakyRelu": (_plain("LeakyRelu", "alpha"), (0.01,)),
    "ThresholdedRelu": (_plain("ThresholdedRelu", "alpha"), (1.0,)),
    "HardSigmoid": (_plain("HardSigmoid", "alpha", "beta"), (0.2, 0.5)),
    "Affine": (_affine, (1.0, 0.0)),
    "ScaledTanh": (_scaled_tanh, (1.0, 1.0)),
}

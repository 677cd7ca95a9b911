"""Activations in terms of operators that have a gradient; formulas as ONNX defines them.

Where a function has two branches, the argument of the one that is not taken becomes 0 before that
branch is computed: it could overflow, and 0 times infinity is no gradient.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from onnxbf.passes.expansion import Call, Expansion, reduced

_SELU_ALPHA, _SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875


def _softplus(call: Call) -> ir.Value:
    """log(e^x + e^0), a reduction that subtracts the greater one first; smooth at 0, too."""
    b = call.b
    one = b.Unsqueeze(call.x, b.integers(-1))
    pair = b.Concat(one, b.ConstantOfShape(b.Shape(one)), axis=-1)
    total = reduced(call, "ReduceLogSumExp", pair, [-1], keep=True)
    value: ir.Value = b.Squeeze(total, b.integers(-1))
    return value


def _mish(call: Call) -> ir.Value:
    value: ir.Value = call.b.Mul(call.x, call.b.Tanh(_softplus(call)))
    return value


def _softsign(call: Call) -> ir.Value:
    b, x = call.b, call.x
    value: ir.Value = b.Div(x, b.Add(b.constant(1.0), b.Abs(x)))
    return value


def _exponential(call: Call, alpha: float, divisor: float = 1.0) -> ir.Value:
    """X above 0, alpha (e^(x / divisor) - 1) below."""
    b, x = call.b, call.x
    positive = b.Greater(x, b.constant(0.0))
    below = b.Where(positive, b.constant(0.0), x)
    if divisor != 1:
        below = b.Div(below, b.constant(divisor))
    curve = b.Sub(b.Exp(below), b.constant(1.0))
    if alpha != 1:
        curve = b.Mul(curve, b.constant(alpha))
    value: ir.Value = b.Where(positive, x, curve)
    return value


def _elu(call: Call) -> ir.Value:
    return _exponential(call, call.number("alpha", 1.0))


def _celu(call: Call) -> ir.Value:
    alpha = call.number("alpha", 1.0)
    return _exponential(call, alpha, alpha)


def _selu(call: Call) -> ir.Value:
    curve = _exponential(call, call.number("alpha", _SELU_ALPHA))
    value: ir.Value = call.b.Mul(curve, call.b.constant(call.number("gamma", _SELU_GAMMA)))
    return value


def _line(call: Call, slope: float, offset: float) -> ir.Value:
    """A line through ``offset``, cut off at 0 and 1."""
    b = call.b
    line = b.Add(b.Mul(call.x, b.constant(slope)), b.constant(offset))
    value: ir.Value = b.Clip(line, b.constant(0.0), b.constant(1.0))
    return value


def _hard_sigmoid(call: Call) -> ir.Value:
    return _line(call, call.number("alpha", 0.2), call.number("beta", 0.5))


def _hard_swish(call: Call) -> ir.Value:
    value: ir.Value = call.b.Mul(call.x, _line(call, 1 / 6, 0.5))
    return value


def _swish(call: Call) -> ir.Value:
    b, x, alpha = call.b, call.x, call.number("alpha", 1.0)
    inner = x if alpha == 1 else b.Mul(x, b.constant(alpha))
    value: ir.Value = b.Mul(x, b.Sigmoid(inner))
    return value


def _prelu(call: Call) -> ir.Value:
    b, x = call.b, call.x
    value: ir.Value = b.Where(b.Less(x, b.constant(0.0)), b.Mul(x, call.input(1)), x)
    return value


def _thresholded_relu(call: Call) -> ir.Value:
    b, x = call.b, call.x
    above = b.Greater(x, b.constant(call.number("alpha", 1.0)))
    value: ir.Value = b.Where(above, x, b.constant(0.0))
    return value


def _shrink(call: Call) -> ir.Value:
    b, x = call.b, call.x
    bound, bias = call.number("lambd", 0.5), b.constant(call.number("bias", 0.0))
    above = b.Where(b.Greater(x, b.constant(bound)), b.Sub(x, bias), b.constant(0.0))
    value: ir.Value = b.Where(b.Less(x, b.constant(-bound)), b.Add(x, bias), above)
    return value


def _tan(call: Call) -> ir.Value:
    value: ir.Value = call.b.Div(call.b.Sin(call.x), call.b.Cos(call.x))
    return value


ACTIVATIONS: Mapping[str, Expansion] = {
    "Celu": _celu,
    "Elu": _elu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "Mish": _mish,
    "PRelu": _prelu,
    "Selu": _selu,
    "Shrink": _shrink,
    "Softplus": _softplus,
    "Softsign": _softsign,
    "Swish": _swish,
    "Tan": _tan,
    "ThresholdedRelu": _thresholded_relu,
}

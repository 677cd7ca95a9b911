"""Normalizations in terms of those that have a gradient, so that a recipe rounds around them.

Statistics are then computed within one node, in float32, as hardware does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import onnx_ir as ir

from onnxbf.graph import NORM_PART
from onnxbf.passes.expansion import Call, Expansion, reduced

PROVISIONAL = "onnxbf.provisional"


def _as_one(call: Call) -> Call:
    """The call, its nodes to be one operation to a recipe; see ``written_norms``."""
    return replace(call, b=call.b.within(NORM_PART))


def _normalized(call: Call, groups: int) -> ir.Value:
    """Mean 0 and variance 1 in each group of channels; 0 groups: each channel is one."""
    b, x = call.b, call.x
    rows = b.Reshape(x, b.integers(0, groups, -1))
    ones = b.ConstantOfShape(call.sizes(rows, 2), value=ir.tensor([1.0]))
    zeros = b.ConstantOfShape(call.sizes(rows, 2))
    value: ir.Value = b.LayerNormalization(
        rows, ones, zeros, axis=-1, epsilon=call.number("epsilon", 1e-5)
    )
    return value


def _affine(call: Call, value: ir.Value, axes: int) -> ir.Value:
    """Times the scale plus the bias, of which there is one for each entry of axis 1."""
    b = call.b
    after = b.integers(*range(1, axes - 1))
    scale, bias = (
        value if axes == 2 else b.Unsqueeze(value, after) for value in call.node.inputs[1:3]
    )
    result: ir.Value = b.Add(b.Mul(value, scale), bias)
    return result


def _instance(call: Call) -> ir.Value:
    whole = call.b.Reshape(_normalized(call, 0), call.b.Shape(call.x))
    return _affine(call, whole, call.rank())


def _group(call: Call) -> ir.Value:
    """Until opset 20 scale and bias are those of groups, since then of channels."""
    b = call.b
    rows = _normalized(call, call.integer("num_groups", 0))
    if call.opset < 21:
        value: ir.Value = b.Reshape(_affine(call, rows, 3), b.Shape(call.x))
        return value
    return _affine(call, b.Reshape(rows, b.Shape(call.x)), call.rank())


def _root_mean_square(call: Call) -> ir.Value:
    """ONNX Runtime's own operator of this kind, which has a gradient; see ``adopt_domains``."""
    value: ir.Value = call.b.node(
        "SimplifiedLayerNormalization",
        [call.x, call.input(1)],
        domain=PROVISIONAL,
        axis=call.integer("axis", -1),
        epsilon=call.number("epsilon", 1e-5),
    )
    return value


def adopt_domains(model: ir.Model) -> None:
    """Move ONNX Runtime's operators into ONNX's domain, where it looks for them.

    Until the model has the opset that it is trained in they must not be there: the converter of
    opsets refuses what ONNX does not define.
    """
    for node in model.graph:
        if node.domain == PROVISIONAL:
            node.domain = ""
    model.opset_imports.pop(PROVISIONAL, None)


def _mean_variance(call: Call) -> ir.Value:
    """(x - mean) / (deviation + 1e-9), as ONNX defines it, from centered squares."""
    call = _as_one(call)
    b = call.b
    axes = [*call.node.attributes.get_ints("axes", (0, 2, 3))]
    centered = b.Sub(call.x, reduced(call, "ReduceMean", call.x, axes, keep=True))
    variance = reduced(call, "ReduceMean", b.Mul(centered, centered), axes, keep=True)
    value: ir.Value = b.Div(centered, b.Add(b.Sqrt(variance), b.constant(1e-9)))
    return value


def _unit_norm(call: Call) -> ir.Value:
    """X / |x|; where the norm is 0, 0."""
    call = _as_one(call)
    b, x = call.b, call.x
    axis = call.integer("axis", -1)
    if call.integer("p", 2) == 2:
        norm = reduced(call, "ReduceL2", x, [axis], keep=True)
    else:
        norm = reduced(call, "ReduceSum", b.Abs(x), [axis], keep=True)
    zero = b.Equal(norm, b.constant(0.0))
    value: ir.Value = b.Div(x, b.Where(zero, b.constant(1.0), norm))
    return value


NORMALIZATIONS: Mapping[str, Expansion] = {
    "GroupNormalization": _group,
    "InstanceNormalization": _instance,
    "MeanVarianceNormalization": _mean_variance,
    "LpNormalization": _unit_norm,
    "RMSNormalization": _root_mean_square,
}

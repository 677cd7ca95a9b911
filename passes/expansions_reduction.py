"""Reductions and sums in terms of operators that have a gradient."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import onnx_ir as ir

from onnxbf.passes.expansion import Call, Expansion, reduced

_LONGEST_PRODUCT = 1024  # of which ReduceProd becomes a chain of products


def _sum(call: Call) -> ir.Value:
    """Pairwise sums from the left."""
    values = [value for value in call.node.inputs if value is not None]
    result: ir.Value = functools.reduce(call.b.Add, values)
    return call.b.Identity(result) if len(values) == 1 else result


def _mean(call: Call) -> ir.Value:
    value: ir.Value = call.b.Div(_sum(call), call.b.constant(float(len(call.node.inputs))))
    return value


def _keeps(call: Call) -> bool:
    return bool(call.integer("keepdims", 1))


def _plainly(call: Call, op_type: str, x: ir.Value) -> ir.Value:
    """The node's reduction, another one, over the same axes."""
    return reduced(call, op_type, x, call.axes(), keep=_keeps(call))


def _l1(call: Call) -> ir.Value:
    return _plainly(call, "ReduceSum", call.b.Abs(call.x))


def _sum_of_squares(call: Call) -> ir.Value:
    return _plainly(call, "ReduceSum", call.b.Mul(call.x, call.x))


def _log_sum(call: Call) -> ir.Value:
    value: ir.Value = call.b.Log(_plainly(call, "ReduceSum", call.x))
    return value


def _flat(call: Call, axes: list[int]) -> ir.Value:
    """The input with the reduced axes as one, the last."""
    b, x, rank = call.b, call.x, call.rank()
    kept = [axis for axis in range(rank) if axis not in axes]
    turned = x if kept + axes == [*range(rank)] else b.Transpose(x, perm=kept + axes)
    if len(axes) == 1:
        return turned
    value: ir.Value = b.Reshape(turned, b.integers(*[0] * len(kept), -1))
    return value


def _shaped(call: Call, value: ir.Value, axes: list[int]) -> ir.Value:
    """A reduction of ``_flat``, whose last axis is 1, in the shape of the node's output."""
    b = call.b
    value = b.Squeeze(value, b.integers(-1))
    return b.Unsqueeze(value, b.integers(*axes)) if _keeps(call) else value


def _chosen_axes(call: Call) -> list[int]:
    axes = call.axes()
    return [*range(call.rank())] if axes is None else sorted(axes)


def _extreme(call: Call) -> ir.Value:
    """The first of the greatest (smallest) elements: where several are equal, it has the gradient.

    torch.max and MaxPool do the same; torch.amax, JAX and TensorFlow share it out.
    """
    b, axes = call.b, _chosen_axes(call)
    if not axes:
        return b.Identity(call.x)  # type: ignore[no-any-return]
    largest = int(call.node.op_type in ("ReduceMax", "GlobalMaxPool"))
    values, _ = b.TopK(_flat(call, axes), b.integers(1), axis=-1, largest=largest, outputs=2)
    return _shaped(call, values, axes)


def _global_max_pool(call: Call) -> ir.Value:
    axes = [*range(2, call.rank())]
    b = call.b
    values, _ = b.TopK(_flat(call, axes), b.integers(1), axis=-1, outputs=2)
    return _shaped(call, values, axes)


def _product(call: Call) -> ir.Value:
    """A chain of products, whose gradient is right where elements are 0, too."""
    b, axes = call.b, _chosen_axes(call)
    shape = call.x.shape
    sizes = [shape[axis] for axis in axes] if shape is not None else []
    count = functools.reduce(lambda n, size: n * (size if isinstance(size, int) else 0), sizes, 1)
    if not 1 <= count <= _LONGEST_PRODUCT:
        raise call.refused(
            f"it multiplies a number of elements that is not fixed, or over {_LONGEST_PRODUCT}",
            "Export the model with fixed sizes, or write the product as a sum of logarithms.",
        )
    if count == 1:
        return _shaped(call, _flat(call, axes), axes)
    parts = b.Split(_flat(call, axes), b.integers(*[1] * count), axis=-1, outputs=count)
    return _shaped(call, functools.reduce(b.Mul, parts), axes)


def _cumulative_sum(call: Call) -> ir.Value:
    """A product with a triangle of ones."""
    b, rank = call.b, call.rank()
    axis = call.input(1)
    assert axis is not None
    (at,) = (number % rank for number in call.integers(axis, "axis"))
    order = [*range(rank)]
    order[at], order[-1] = order[-1], order[at]
    turned = call.x if at == rank - 1 else b.Transpose(call.x, perm=order)
    size = call.sizes(call.x, at)
    ones = b.ConstantOfShape(b.Concat(size, size, axis=0), value=ir.tensor([1.0]))
    backwards, open_ended = call.integer("reverse", 0), call.integer("exclusive", 0)
    diagonal = b.constant(-open_ended if backwards else open_ended, ir.DataType.INT64)
    product = b.MatMul(turned, b.Trilu(ones, diagonal, upper=int(not backwards)))
    value: ir.Value = product if at == rank - 1 else b.Transpose(product, perm=order)
    return value


REDUCTIONS: Mapping[str, Expansion] = {
    "CumSum": _cumulative_sum,
    "GlobalMaxPool": _global_max_pool,
    "Mean": _mean,
    "ReduceL1": _l1,
    "ReduceLogSum": _log_sum,
    "ReduceMax": _extreme,
    "ReduceMin": _extreme,
    "ReduceProd": _product,
    "ReduceSumSquare": _sum_of_squares,
    "Sum": _sum,
}

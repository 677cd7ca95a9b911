"""Replace gradient nodes for which ONNX Runtime has no kernel on the CPU, or none that works.

A transposed convolution is the input gradient of a convolution, so its own gradients are a
convolution and that convolution's weight gradient. Resizing and average pooling are linear along
each axis, so their gradient is a product with each axis's matrix. ONNX Runtime 1.19 has no
ConvTransposeGrad and no ResizeGrad, and its AveragePoolGrad is empty where the batch is not fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from onnxbf.builder import Builder
from onnxbf.errors import UnsupportedError
from onnxbf.graph import (
    GRADIENT_OF,
    OPERATOR_KEY,
    PHASE_KEY,
    Names,
    Phase,
    constant_of,
    phase_of,
    replace_node,
)
from onnxbf.passes.base import GraphPass

_CONV_ATTRIBUTES = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")


@dataclass(frozen=True)
class LowerGradients(GraphPass):
    """Lower these nodes of a gradient graph whose phases are stamped.

    Raises:
        UnsupportedError: a gradient that cannot be had: which node, and what would help.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        names = Names(model)
        found = [node for node in model.graph if node.op_type in _LOWERED]
        for node in found:
            builder = Builder(names, node.name or node.op_type)
            gradients = _LOWERED[node.op_type](builder, node, model)
            replace_node(node, builder.nodes, gradients)
        return ir.passes.PassResult(model, modified=bool(found))


def _conv_transpose(
    builder: Builder, node: ir.Node, model: ir.Model
) -> tuple[ir.Value | None, ir.Value | None, ir.Value | None]:
    whole, x, weights = node.inputs[:3]
    assert whole is not None
    gradient = _reached(builder, node, whole)
    kept = {name: node.attributes[name] for name in _CONV_ATTRIBUTES if name in node.attributes}
    wanted = [bool(value.name) for value in node.outputs] + [False, False]
    to_x = to_weights = to_bias = None
    if wanted[0]:
        to_x = builder.Conv(gradient, weights, **kept)
        _stamp(builder, Phase.INPUT_GRADIENT)
    if wanted[1]:
        _, to_weights = builder.node(
            "ConvGrad", [x, gradient, weights], domain="com.microsoft", outputs=2, **kept
        )
        builder.nodes[-1].outputs[0].name = ""
        _stamp(builder, Phase.WEIGHT_GRADIENT)
    if wanted[2]:
        assert whole.shape is not None
        axes = [axis for axis in range(len(whole.shape)) if axis != 1]
        to_bias = builder.ReduceSum(whole, builder.integers(*axes), keepdims=0)
        _stamp(builder, Phase.WEIGHT_GRADIENT)
    return to_x, to_weights, to_bias


def _reached(builder: Builder, node: ir.Node, gradient: ir.Value) -> ir.Value:
    """Without the padding at the ends, where that would make room for another input."""
    added = node.attributes.get_ints("output_padding", ())
    steps = node.attributes.get_ints("strides", [1] * len(added))
    cut = [d for d, (more, step) in enumerate(zip(added, steps)) if more >= step]
    if not cut:
        return gradient
    ends = builder.integers(*(-added[d] for d in cut))
    axes = builder.integers(*(d + 2 for d in cut))
    reached: ir.Value = builder.Slice(gradient, builder.integers(*(0 for _ in cut)), ends, axes)
    return reached


def _separable(builder: Builder, node: ir.Node, model: ir.Model) -> tuple[ir.Value]:
    gradient = node.inputs[0]
    assert gradient is not None
    forward = _forward_of(node, model)
    x = forward.inputs[0]
    assert x is not None
    before, after = _sizes(node, x), _sizes(node, forward.outputs[0])
    result = gradient
    for axis in range(2, len(before)):
        unit = _UNITS[forward.op_type](forward, axis, before[axis], after[axis])
        matrix = _matrix(forward.op_type, unit, model, before[axis], after[axis])
        result = _along_axis(builder, result, axis, len(before) - 1, matrix)
    _stamp(builder, phase_of(node))
    _stand_for(node.op_type, builder.nodes)
    return (result,)


def _stand_for(op_type: str, nodes: Sequence[ir.Node]) -> None:
    """Have a recipe round what goes into the first product, and nothing in between."""
    products = [node for node in nodes if node.op_type == "MatMul"]
    for product in products:
        product.metadata_props[OPERATOR_KEY] = op_type if product is products[0] else ""


def _along_axis(
    builder: Builder, value: ir.Value, axis: int, last: int, matrix: NDArray[np.float32]
) -> ir.Value:
    """The product of one axis with a matrix of (size before, size after)."""
    order = [*range(last + 1)]
    order[axis], order[last] = last, axis
    turned = value if axis == last else builder.Transpose(value, perm=order)
    product = builder.MatMul(turned, builder.constant(matrix))
    result: ir.Value = product if axis == last else builder.Transpose(product, perm=order)
    return result


def _forward_of(node: ir.Node, model: ir.Model) -> ir.Node:
    """The forward node that a gradient node differentiates."""
    name = (node.name or "").split(GRADIENT_OF)[0]
    return next(n for n in model.graph if n.name == name and n.op_type in _UNITS)


def _sizes(node: ir.Node, value: ir.Value) -> list[int]:
    """The sizes of all axes; 0 for batch and channels, which are not resized."""
    sizes = [] if value.shape is None else [*value.shape[2:]]
    fixed = [size for size in sizes if isinstance(size, int)]
    if not sizes or len(fixed) != len(sizes):
        raise UnsupportedError(
            f"Node {node.name!r} cannot be differentiated: its gradient needs all sizes but batch "
            "and channels to be fixed. Export the model with fixed sizes."
        )
    return [0, 0, *fixed]


@dataclass(frozen=True)
class _Unit:
    """A forward node reduced to one axis: what its matrix is read off."""

    attributes: Mapping[str, Any]
    scale: float | None = None


def _matrix(
    op_type: str, unit: _Unit, model: ir.Model, size: int, resized: int
) -> NDArray[np.float32]:
    """What the node makes of the unit vectors of one axis: (size after, size before)."""
    inputs = ["x"] if unit.scale is None else ["x", "", "scales"]
    node = onnx.helper.make_node(op_type, inputs, ["y"], **unit.attributes)
    infos = [
        onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [size, 1, size]),
        onnx.helper.make_tensor_value_info("scales", onnx.TensorProto.FLOAT, [3]),
    ]
    result = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    graph = onnx.helper.make_graph(
        [node], "axis", infos[: 1 if unit.scale is None else 2], [result]
    )
    opset = onnx.helper.make_opsetid("", max(model.opset_imports.get("", 18), 13))
    made = onnx.helper.make_model(graph, opset_imports=[opset])
    feeds: dict[str, NDArray[Any]] = {"x": np.eye(size, dtype=np.float32)[:, None]}
    if unit.scale is not None:
        feeds["scales"] = np.array([1, 1, unit.scale], np.float32)
    results: Any = ReferenceEvaluator(made).run(None, feeds)
    rows = results[0]
    return np.ascontiguousarray(rows[:, 0, :resized].T, dtype=np.float32)


def _resize_unit(forward: ir.Node, axis: int, size: int, resized: int) -> _Unit:
    attributes = {
        name: attribute.value
        for name, attribute in forward.attributes.items()
        if name not in ("axes", "keep_aspect_ratio_policy")
    }
    return _Unit(attributes, _scale(forward, axis, size, resized))


def _scale(forward: ir.Node, axis: int, size: int, resized: int) -> float:
    """The scale that the node states, of which the sizes are a rounding; or else their ratio."""
    axes = forward.attributes.get_ints("axes", None)
    position = axis if axes is None else list(axes).index(axis)
    for value in forward.inputs[1:3]:
        scales = None if value is None else constant_of(value)
        if scales is not None and scales.dtype is ir.DataType.FLOAT and scales.size > position:
            return float(scales.numpy()[position])
    return resized / size


def _pool_unit(forward: ir.Node, axis: int, size: int, resized: int) -> _Unit:
    spatial = axis - 2
    attributes: dict[str, Any] = {}
    for name, attribute in forward.attributes.items():
        value = attribute.value
        if name == "pads":
            value = [value[spatial], value[spatial + len(value) // 2]]
        elif name in ("dilations", "kernel_shape", "strides"):
            value = [value[spatial]]
        attributes[name] = value
    return _Unit(attributes)


_UNITS: dict[str, Callable[[ir.Node, int, int, int], _Unit]] = {
    "Resize": _resize_unit,
    "AveragePool": _pool_unit,
}


def _stamp(builder: Builder, phase: Phase) -> None:
    for node in builder.nodes:
        node.metadata_props.setdefault(PHASE_KEY, phase.value)


_LOWERED: dict[str, Callable[[Builder, ir.Node, ir.Model], Sequence[ir.Value | None]]] = {
    "ConvTransposeGrad": _conv_transpose,
    "ResizeGrad": _separable,
    "AveragePoolGrad": _separable,
}

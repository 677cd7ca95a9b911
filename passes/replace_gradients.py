"""Hand what ONNX Runtime computes slowly in training, gradients above all, to kernels of our own.

Of the CPU kernels of ONNX Runtime 1.19, those below use one thread or no vectors, or read memory
more slowly than it can be read (ReduceSum). Ours have the same inputs, outputs and attributes under
the same names in the domain ``ai.onnxbf``, so a node changes its domain and nothing else: but
MaxPoolGrad is told the sizes of what it gives, which ONNX Runtime takes from the graph.
benchmarks/bench_gradients.py measures both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

from onnxbf.custom_ops.registry import DOMAIN, VERSION
from onnxbf.graph import all_graphs, constant_of
from onnxbf.operators import STANDARD_DOMAINS
from onnxbf.passes.base import GraphPass

_ORIGIN = "com.microsoft"
_ONNX = frozenset(  # of ONNX's domain there
    {"LayerNormalization", "MaxPool", "MaxPoolGrad", "ReduceSum", "SoftmaxCrossEntropyLoss"}
)
_SIZES = "spatial"
_FEWEST_MAPS, _LARGEST_RANK = 8, 5
_FLOATS = frozenset({ir.DataType.FLOAT})


@dataclass(frozen=True)
class ReplaceGradients(GraphPass):
    """Replace these nodes of a gradient graph where they are in float32 and it pays."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [node for node in model.graph if _is_to_be_replaced(node)]
        for node in found:
            node.domain = DOMAIN
            if node.op_type == "MaxPoolGrad":
                node.attributes.add(ir.AttrInt64s(_SIZES, _sizes(node.outputs[0])))
        if found:
            model.opset_imports[DOMAIN] = VERSION
        return ir.passes.PassResult(model, modified=bool(found))


def restore_gradients(model: ir.Model) -> None:
    """Undo it: for runtimes that are to do without our operators."""
    for graph in all_graphs(model):
        for node in graph:
            if is_replaced(node):
                node.domain = "" if node.op_type in _ONNX else _ORIGIN
                node.attributes.pop(_SIZES, None)


def is_replaced(node: ir.Node) -> bool:
    """Whether it is a node of ours that computes what ONNX Runtime's would have computed."""
    return (
        node.domain == DOMAIN and node.op_type in _COVERED and "arithmetic" not in node.attributes
    )


def _is_to_be_replaced(node: ir.Node) -> bool:
    covered = _COVERED.get(node.op_type)
    return covered is not None and node.domain in STANDARD_DOMAINS and covered(node)


def _are_floats(node: ir.Node, *indices: int) -> bool:
    """Whether these inputs, as far as their types are known, are float32, and one is known."""
    values = [node.inputs[index] for index in indices]
    return {v.dtype for v in values if v is not None and v.dtype is not None} == _FLOATS


def _relu(node: ir.Node) -> bool:
    return _are_floats(node, 0, 1)


def _conv(node: ir.Node) -> bool:
    """Not where groups have few maps, or kernels one tap: ONNX Runtime is as fast then."""
    weights = node.inputs[2]
    shape = None if weights is None else weights.shape
    if shape is None or not isinstance(shape[0], int):
        return False
    maps = shape[0] // node.attributes.get_int("group", 1)
    if maps < _FEWEST_MAPS or all(size == 1 for size in shape[2:]):
        return False
    return len(shape) <= _LARGEST_RANK and _are_floats(node, 0, 1, 2)


def _gather(node: ir.Node) -> bool:
    indices = node.inputs[1]
    return indices is not None and indices.dtype is ir.DataType.INT64 and _are_floats(node, 2)


def _layer_norm(node: ir.Node) -> bool:
    return all(_are_floats(node, index) for index, _ in enumerate(node.inputs))


def _layer_norm_gradient(node: ir.Node) -> bool:
    return _are_floats(node, 0, 1, 2, 3, 4)


def _softmax_gradient(node: ir.Node) -> bool:
    """Only along the last dimension."""
    y = node.inputs[1]
    if y is None or y.shape is None or not _are_floats(node, 0, 1):
        return False
    return node.attributes.get_int("axis", -1) in (-1, len(y.shape) - 1)


def _sum(node: ir.Node) -> bool:
    """Only over the first dimensions, not over all: so are biases' gradients summed."""
    x, axes = node.inputs[0], node.inputs[1] if len(node.inputs) > 1 else None
    tensor = None if axes is None else constant_of(axes)
    if x is None or x.shape is None or tensor is None or not _are_floats(node, 0):
        return False
    rank = len(x.shape)
    summed = sorted(axis % rank for axis in tensor.numpy().ravel().tolist()) if rank else []
    return 0 < len(summed) < rank and summed == [*range(len(summed))]


def _sizes(image: ir.Value) -> list[int]:
    """The height and the width, where both are known; else empty."""
    sizes = () if image.shape is None else image.shape[2:]
    known = [size for size in sizes if isinstance(size, int)]
    return known if len(sizes) == len(known) == 2 else []


def _pool(node: ir.Node) -> bool:
    """Only with both outputs: ONNX Runtime is fast where nobody asks for the places."""
    if len(node.outputs) < 2 or not node.outputs[1].name or not _sizes(node.outputs[0]):
        return False
    attributes = node.attributes
    return (
        not any(attributes.get_int(name, 0) for name in ("ceil_mode", "storage_order"))
        and attributes.get_string("auto_pad", "NOTSET") == "NOTSET"
        and {*attributes.get_ints("dilations", (1,))} == {1}
        and _are_floats(node, 0)
    )


def _pool_gradient(node: ir.Node) -> bool:
    return bool(_sizes(node.outputs[0])) and _are_floats(node, 0)


def _loss(node: ir.Node) -> bool:
    """Only of rows and one int64 label each, without weights."""
    return len(node.outputs) > 1 and bool(node.outputs[1].name) and _are_rows(node, 0, 1)


def _loss_gradient(node: ir.Node) -> bool:
    return _are_rows(node, 1, 2)


def _are_rows(node: ir.Node, numbers: int, labels: int) -> bool:
    if any(value is not None for value in node.inputs[labels + 1 :]) or not _are_floats(
        node, numbers
    ):
        return False
    rows, wanted = node.inputs[numbers], node.inputs[labels]
    if rows is None or rows.shape is None or wanted is None:
        return False
    if len(rows.shape) != 2 or wanted.dtype is not ir.DataType.INT64:
        return False
    return _are_floats(node, numbers)


_COVERED: dict[str, Callable[[ir.Node], bool]] = {
    "ReluGrad": _relu,
    "ConvGrad": _conv,
    "GatherGrad": _gather,
    "LayerNormalization": _layer_norm,
    "LayerNormalizationGrad": _layer_norm_gradient,
    "MaxPool": _pool,
    "MaxPoolGrad": _pool_gradient,
    "ReduceSum": _sum,
    "SoftmaxGrad_13": _softmax_gradient,
    "SoftmaxCrossEntropyLoss": _loss,
    "SoftmaxCrossEntropyLossGrad": _loss_gradient,
}

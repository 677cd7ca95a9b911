"""Write the padding that ``auto_pad`` leaves to the runtime as numbers.

ONNX Runtime's gradient of a convolution ignores ``auto_pad``: it is wrong, and silently so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxbf.errors import UnsupportedError
from onnxbf.graph import all_graphs
from onnxbf.passes.base import GraphPass

_PADDED = ("AveragePool", "Conv", "ConvTranspose", "LpPool", "MaxPool")


@dataclass(frozen=True)
class ExplicitPadding(GraphPass):
    """Replace ``auto_pad`` by ``pads``. Shapes have to be inferred before.

    Raises:
        UnsupportedError: padding that depends on sizes which are not fixed.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [node for graph in all_graphs(model) for node in graph if _auto_pad(node)]
        for node in found:
            node.attributes["pads"] = ir.AttrInt64s("pads", _pads(node))
            node.attributes.pop("auto_pad")
            node.attributes.pop("output_shape", None)
        return ir.passes.PassResult(model, modified=bool(found))


def _auto_pad(node: ir.Node) -> str:
    attribute = node.attributes.get("auto_pad")
    if node.op_type not in _PADDED or attribute is None or attribute.is_ref():
        return ""
    text = attribute.as_string()
    return "" if text == "NOTSET" else text


def _pads(node: ir.Node) -> list[int]:
    """The padding at the beginnings, then at the ends, of the spatial axes (ONNX, Conv)."""
    sizes, kernel = _sizes(node, node.inputs[0]), _kernel(node)
    if _auto_pad(node) == "VALID":
        return [0] * 2 * len(kernel)
    strides = _numbers(node, "strides", len(kernel))
    dilations = _numbers(node, "dilations", len(kernel))
    results = _sizes(node, node.outputs[0])
    wide, narrow = (results, sizes) if node.op_type == "ConvTranspose" else (sizes, results)
    totals = [
        max((small - 1) * stride + (width - 1) * dilation + 1 - large, 0)
        for small, stride, width, dilation, large in zip(narrow, strides, kernel, dilations, wide)
    ]
    low = [total // 2 for total in totals]
    high = [total - part for total, part in zip(totals, low)]
    return [*low, *high] if _auto_pad(node) == "SAME_UPPER" else [*high, *low]


def _kernel(node: ir.Node) -> Sequence[int]:
    stated = node.attributes.get("kernel_shape")
    return stated.as_ints() if stated is not None else _sizes(node, node.inputs[1])


def _numbers(node: ir.Node, name: str, count: int) -> Sequence[int]:
    attribute = node.attributes.get(name)
    return [1] * count if attribute is None else attribute.as_ints()


def _sizes(node: ir.Node, value: ir.Value | None) -> list[int]:
    """The sizes of the spatial axes."""
    sizes = [] if value is None or value.shape is None else [*value.shape[2:]]
    whole = [size for size in sizes if isinstance(size, int)]
    if not sizes or len(whole) != len(sizes):
        raise UnsupportedError(
            f"Node {node.name!r} pads by {_auto_pad(node)}, whose gradient needs fixed sizes: "
            "export the model with fixed sizes but for the batch, or with explicit padding."
        )
    return whole

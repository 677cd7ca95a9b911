"""Write the padding that ``auto_pad`` and ``output_shape`` leave to the runtime as numbers.

ONNX Runtime's gradient of a convolution ignores them: it is wrong, and silently so.
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
    """Replace them by ``pads`` and ``output_padding``. Shapes have to be inferred before.

    Raises:
        UnsupportedError: padding that depends on sizes which are not fixed.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [node for graph in all_graphs(model) for node in graph if _cause(node)]
        for node in found:
            padding = _transposed(node) if node.op_type == "ConvTranspose" else _pads(node)
            for name, sizes in padding.items():
                node.attributes[name] = ir.AttrInt64s(name, sizes)
            node.attributes.pop("auto_pad", None)
            node.attributes.pop("output_shape", None)
        return ir.passes.PassResult(model, modified=bool(found))


def _cause(node: ir.Node) -> str:
    """What leaves the padding to the runtime; empty where nothing does."""
    if node.op_type not in _PADDED:
        return ""
    if node.op_type == "ConvTranspose" and "output_shape" in node.attributes:
        return "output_shape"
    attribute = node.attributes.get("auto_pad")
    text = "NOTSET" if attribute is None or attribute.is_ref() else attribute.as_string()
    return "" if text == "NOTSET" else text


def _pads(node: ir.Node) -> dict[str, list[int]]:
    """At the beginnings, then at the ends, of the spatial axes (ONNX, Conv)."""
    sizes, kernel = _sizes(node, node.inputs[0]), _kernel(node)
    if _cause(node) == "VALID":
        return {"pads": [0] * 2 * len(kernel)}
    strides = _numbers(node, "strides", len(kernel))
    totals = [
        max((small - 1) * stride + reach - large, 0)
        for small, stride, reach, large in zip(
            _sizes(node, node.outputs[0]), strides, _reach(node, kernel), sizes
        )
    ]
    return {"pads": _halves(node, totals)}


def _transposed(node: ir.Node) -> dict[str, list[int]]:
    """What a stated size cuts off, and what is missing to it at the ends (ONNX, ConvTranspose)."""
    kernel = _kernel(node)
    if _cause(node) == "VALID":
        return {"pads": [0] * 2 * len(kernel)}
    sizes, strides = _sizes(node, node.inputs[0]), _numbers(node, "strides", len(kernel))
    more = _numbers(node, "output_padding", len(kernel), 0)
    whole = [
        (size - 1) * stride + reach + added
        for size, stride, reach, added in zip(sizes, strides, _reach(node, kernel), more)
    ]
    stated = node.attributes.get_ints("output_shape", None)
    if stated is None:
        wanted = [min(size * stride, all_) for size, stride, all_ in zip(sizes, strides, whole)]
    else:
        wanted = [*stated]
    totals = [max(all_ - size, 0) for all_, size in zip(whole, wanted)]
    missing = [max(size - all_, 0) for all_, size in zip(whole, wanted)]
    return {
        "pads": _halves(node, totals),
        "output_padding": [added + rest for added, rest in zip(more, missing)],
    }


def _halves(node: ir.Node, totals: Sequence[int]) -> list[int]:
    """The larger one at the end under ``SAME_UPPER`` alone."""
    low = [total // 2 for total in totals]
    high = [total - part for total, part in zip(totals, low)]
    upper = node.attributes.get_string("auto_pad", "") == "SAME_UPPER"
    return [*low, *high] if upper else [*high, *low]


def _reach(node: ir.Node, kernel: Sequence[int]) -> list[int]:
    dilations = _numbers(node, "dilations", len(kernel))
    return [(width - 1) * dilation + 1 for width, dilation in zip(kernel, dilations)]


def _kernel(node: ir.Node) -> Sequence[int]:
    stated = node.attributes.get_ints("kernel_shape", None)
    return _sizes(node, node.inputs[1]) if stated is None else stated


def _numbers(node: ir.Node, name: str, count: int, default: int = 1) -> Sequence[int]:
    return node.attributes.get_ints(name, [default] * count)


def _sizes(node: ir.Node, value: ir.Value | None) -> list[int]:
    """The sizes of the spatial axes."""
    sizes = [] if value is None or value.shape is None else [*value.shape[2:]]
    whole = [size for size in sizes if isinstance(size, int)]
    if not sizes or len(whole) != len(sizes):
        raise UnsupportedError(
            f"Node {node.name!r} pads by {_cause(node)}, whose gradient needs fixed sizes: "
            "export the model with fixed sizes but for the batch, or with explicit padding."
        )
    return whole

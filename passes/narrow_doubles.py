"""Bring a model that was exported in float64 into float32, in which training computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxbf.graph import all_graphs
from onnxbf.passes.base import GraphPass

_FROM, _TO = ir.DataType.DOUBLE, ir.DataType.FLOAT
# The attributes by which operators of ONNX name the type of their result.
_TYPES = ("to", "dtype", "output_datatype")


@dataclass(frozen=True)
class NarrowDoubles(GraphPass):
    """Make every float64 tensor float32, where inputs, outputs or weights of the model are float64.

    A model that only computes in float64 on the way between float32 tensors stays as it is.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = _doubles(model.graph)
        if not found:
            return ir.passes.PassResult(model, modified=False)
        for graph in all_graphs(model):
            for value in (*graph.inputs, *graph.initializers.values()):
                _narrow_value(value)
            for node in graph:
                _narrow_node(node)
        shown = ", ".join(repr(name) for name in found[:3]) + ("", " ...")[len(found) > 3]
        self.report.warnings.append(f"The model is in float64 ({shown}): it is trained in float32.")
        return ir.passes.PassResult(model, modified=True)


def narrowed(array: NDArray[np.float64]) -> NDArray[np.float32]:
    """The nearest float32 numbers, but that what is finite stays so, and what is not 0."""
    info = np.finfo(np.float32)
    inside = np.where(np.isfinite(array), np.clip(array, info.min, info.max), array)
    single = inside.astype(np.float32)
    lost = (single == 0) & (array != 0)  # a floor of divisors, as a rule
    return np.where(lost, np.copysign(info.tiny, single), single)


def _doubles(graph: ir.Graph) -> list[str]:
    """The names of inputs, outputs and weights that are float64."""
    weights = [v for v in graph.initializers.values() if v.const_value and v.const_value.size > 1]
    values = dict.fromkeys([*graph.inputs, *graph.outputs, *weights])
    return [value.name or "" for value in values if _dtype(value) is _FROM]


def _dtype(value: ir.Value) -> ir.DataType | None:
    return value.dtype if value.const_value is None else value.const_value.dtype


def _narrow_value(value: ir.Value) -> None:
    tensor = value.const_value
    if tensor is not None and tensor.dtype is _FROM:
        value.const_value = _narrow_tensor(tensor)
    if value.dtype is _FROM and isinstance(value.type, ir.TensorType):
        value.type = ir.TensorType(_TO)  # a clone shares the type that it had


def _narrow_tensor(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    array: NDArray[Any] = tensor.numpy()
    return ir.tensor(narrowed(array), name=tensor.name)


def _narrow_node(node: ir.Node) -> None:
    for name, attribute in [*node.attributes.items()]:
        if attribute.is_ref():
            continue
        if attribute.type is ir.AttributeType.TENSOR and attribute.as_tensor().dtype is _FROM:
            tensor = _narrow_tensor(attribute.as_tensor())
            node.attributes[name] = ir.AttrTensor(name, tensor)
        elif name in _TYPES and attribute.value == _FROM.value and not node.domain:
            node.attributes[name] = ir.AttrInt64(name, _TO.value)
    for value in node.outputs:
        _narrow_value(value)

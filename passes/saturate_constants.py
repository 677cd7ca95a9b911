"""Bring mask constants such as the most negative float32 into the range of the target format.

Exporters write attention masks with the limits of the type they export (``finfo(float32).min``).
Rounded to bfloat16 that is minus infinity, and ``0 * inf`` or a fully masked softmax is NaN, which
no network in bfloat16 computes: frameworks take the limits of the type they run in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxbf.graph import all_graphs, constant_of
from onnxbf.passes.base import GraphPass
from onnxbf.recipe import Recipe

_MOST_ELEMENTS = 2**16  # masks are small; weights, which may be large, are not read at all


@dataclass(frozen=True)
class SaturateConstants(GraphPass):
    """Replace finite constants beyond the recipe's widest format by its largest number."""

    recipe: Recipe

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        formats = [cast.format for cast in self.recipe.casts]
        if not formats:
            return ir.passes.PassResult(model, modified=False)
        widest = max(formats, key=lambda fmt: fmt.max)
        changed = []
        for value in _constants(model):
            if _saturate(value, widest.max):
                changed.append(value.name or "")
        if changed:
            self.report.notes.append(
                f"constants beyond {widest} set to its largest number, {widest.max:.6g}: "
                f"{', '.join(changed)}."
            )
        return ir.passes.PassResult(model, modified=bool(changed))


def _constants(model: ir.Model) -> list[ir.Value]:
    found: list[ir.Value] = []
    for graph in all_graphs(model):
        found.extend(graph.initializers.values())
        found.extend(node.outputs[0] for node in graph if node.op_type == "Constant")
    return found


def _saturate(value: ir.Value, largest: float) -> bool:
    tensor = constant_of(value)
    if tensor is None or tensor.dtype is not ir.DataType.FLOAT or tensor.size > _MOST_ELEMENTS:
        return False
    array = tensor.numpy()
    beyond = np.isfinite(array) & (np.abs(array) > largest)
    if not beyond.any():
        return False
    limited = np.where(beyond, np.copysign(np.float32(largest), array), array)
    _store(value, ir.tensor(limited.astype(np.float32), name=tensor.name))
    return True


def _store(value: ir.Value, tensor: ir.TensorProtocol) -> None:
    producer = value.producer()
    if producer is None:
        value.const_value = tensor
        return
    producer.attributes.clear()
    producer.attributes["value"] = ir.AttrTensor("value", tensor)
    value.const_value = None

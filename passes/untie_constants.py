"""Give parameters that an exporter merged because they began equal their own values again.

PyTorch's exporter stores equal tensors once. All biases that begin as zeros, and all scales that
begin as ones, then are one initializer; trained as one, they would make another network.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onnxbf.graph import Names
from onnxbf.passes.base import GraphPass
from onnxbf.passes.recurrent_node import is_initial_state


@dataclass(frozen=True, slots=True)
class Copy:
    """An initializer that was made as a copy of ``source`` for one input of a node."""

    name: str
    source: str
    node: str
    index: int


@dataclass(frozen=True)
class UntieConstants(GraphPass):
    """Copy a float32 initializer whose elements are all equal for each node that reads it.

    Weights that are tied on purpose (an embedding that is the output layer, too) hold different
    numbers, and stay tied.

    Attributes:
        copies: what the pass made, filled in by it.
    """

    copies: list[Copy] = field(default_factory=list)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        names = Names(model)
        merged = [value for value in model.graph.initializers.values() if _is_merged(value)]
        for value in merged:
            self.untie(model.graph, value, names)
        return ir.passes.PassResult(model, modified=bool(merged))

    def untie(self, graph: ir.Graph, value: ir.Value, names: Names) -> None:
        _, *others = value.uses()
        for node, index in others:
            name = names.fresh(f"{value.name}/{node.name}")
            assert value.const_value is not None
            tensor = ir.tensor(value.const_value.numpy(), name=name)
            copy = ir.Value(name=name, type=value.type, shape=value.shape, const_value=tensor)
            graph.register_initializer(copy)
            node.replace_input_with(index, copy)
            self.copies.append(Copy(name, value.name or "", node.name or "", index))
        self.report.notes.append(
            f"{value.name} is read by {len(others) + 1} nodes and all its elements are equal: "
            "taken for parameters that the exporter merged, each node has its own now."
        )


def _is_merged(value: ir.Value) -> bool:
    tensor = value.const_value
    if tensor is None or tensor.dtype is not ir.DataType.FLOAT or tensor.size < 2:
        return False
    if len(value.uses()) < 2 or value.is_graph_output() or is_initial_state(value):
        return False
    numbers = tensor.numpy()
    return bool(np.all(numbers == numbers.flat[0]))

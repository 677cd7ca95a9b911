"""Bring batch normalization from the form of inference into the form of training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from onnxbf.graph import Names, take_place
from onnxbf.passes.base import GraphPass

_OWN_DOMAIN = "com.microsoft"  # of the operator that ONNX Runtime differentiates


@dataclass(frozen=True)
class TrainBatchNorm(GraphPass):
    """Normalize by the batch, and give the next running statistics as outputs ``<buffer>.next``.

    Attributes:
        buffers: names of the running means and variances, filled in by the pass.
    """

    buffers: list[str] = field(default_factory=list)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        names = Names(model)
        found = [node for node in model.graph if node.op_type == "BatchNormalization"]
        for node in found:
            self.train(model, node, names)
        return ir.passes.PassResult(model, modified=bool(found))

    def train(self, model: ir.Model, node: ir.Node, names: Names) -> None:
        statistics = [value for value in node.inputs[3:5] if value is not None]
        if not all(value.is_initializer() for value in statistics):
            self.report.warnings.append(
                f"{node.name}: the running statistics are computed, so they stay as they are and "
                "are not trained."
            )
            return
        trained = ir.node(
            "BatchNormInternal",
            node.inputs,
            {
                "epsilon": node.attributes.get_float("epsilon", 1e-5),
                "momentum": node.attributes.get_float("momentum", 0.9),
                "training_mode": 1,
            },
            domain=_OWN_DOMAIN,
            num_outputs=5,
            name=node.name,
        )
        _name_outputs(trained, node, statistics, names)
        take_place(trained.outputs[0], node.outputs[0])
        graph = node.graph
        assert graph is not None
        graph.insert_after(node, trained)
        graph.remove(node, safe=True)
        graph.outputs.extend(trained.outputs[1:3])
        model.opset_imports.setdefault(_OWN_DOMAIN, 1)
        self.buffers.extend(value.name for value in statistics if value.name)


def _name_outputs(
    trained: ir.Node, node: ir.Node, statistics: Sequence[ir.Value], names: Names
) -> None:
    for value, buffer in zip(trained.outputs[1:3], statistics):
        value.name, value.type, value.shape = f"{buffer.name}.next", buffer.type, buffer.shape
    for value in trained.outputs[3:]:
        value.name = names.fresh(f"{node.name}:{value.index()}")

"""Let an update graph tell how many weights it leaves as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from onnxbf.custom_ops.attributes import cast_attributes
from onnxbf.custom_ops.observation import UPDATE_FIELDS
from onnxbf.custom_ops.registry import DOMAIN, VERSION
from onnxbf.formats import FLOAT32, Cast
from onnxbf.graph import NEXT, PHASE_KEY, UPDATE, Names, Phase
from onnxbf.passes.base import GraphPass
from onnxbf.passes.observe_roundings import tell

UPDATES = "health.updates"
OBSERVED = "ObserveUpdate"


@dataclass(frozen=True)
class ObserveUpdates(GraphPass):
    """Add a node ObserveUpdate for every parameter ``p``, of ``p.update``, ``p`` and ``p.next``.

    What it measures becomes one more output of the model, ``health.updates/p``: float64,
    UPDATE_FIELDS.

    Args:
        copies: how the network rounds its copy of a parameter; one that is not named here it reads
            as it is.
    """

    copies: Mapping[str, Cast]

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graph, names = model.graph, Names(model)
        inner = {value.name: value for node in graph for value in node.outputs}
        health = []
        for before in tuple(graph.inputs):
            update, after = inner.get(f"{before.name}{UPDATE}"), inner.get(f"{before.name}{NEXT}")
            if update is None or after is None:
                continue
            node = self.node(update, before, after, names)
            graph.append(node)
            name = names.fresh(f"{UPDATES}/{before.name}")
            tell(model, node.outputs[0], name, len(UPDATE_FIELDS))
            health.append(node)
        if health:
            model.opset_imports[DOMAIN] = VERSION
        return ir.passes.PassResult(model, modified=bool(health))

    def node(self, update: ir.Value, before: ir.Value, after: ir.Value, names: Names) -> ir.Node:
        cast = self.copies.get(before.name or "", Cast(FLOAT32))
        return ir.node(
            OBSERVED,
            [update, before, after],
            cast_attributes(cast),
            domain=DOMAIN,
            name=names.fresh(f"update/{before.name}/{OBSERVED}"),
            metadata_props={PHASE_KEY: Phase.UPDATE.value},
        )

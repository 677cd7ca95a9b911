"""Write operators that have no gradient in ONNX Runtime in terms of operators that have one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from onnxbf.builder import Builder
from onnxbf.errors import UnsupportedError
from onnxbf.graph import REFUSAL_KEY, Names, replace_node
from onnxbf.passes.base import GraphPass
from onnxbf.passes.expansion import Call, Expansion
from onnxbf.passes.expansions_activation import ACTIVATIONS
from onnxbf.passes.expansions_einsum import einsum
from onnxbf.passes.expansions_normalization import NORMALIZATIONS, PROVISIONAL
from onnxbf.passes.expansions_reduction import REDUCTIONS


def _cast_like(call: Call) -> ir.Value:
    value: ir.Value = call.b.Cast(call.x, to=ir.DataType.FLOAT)
    return value


EXPANSIONS: Mapping[str, Expansion] = {
    "CastLike": _cast_like,
    **ACTIVATIONS,
    **NORMALIZATIONS,
    **REDUCTIONS,
    "Einsum": einsum,
}


@dataclass(frozen=True)
class ExpandUngraded(GraphPass):
    """Expand nodes of the main graph whose first output is float32; types have to be inferred.

    A node in a form that is not expanded stays, and says why in its metadata: a loss may not depend
    on it.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        names = Names(model)
        opset = model.opset_imports.get("", 1)
        found = [node for node in model.graph if _is_expanded(node)]
        for node in found:
            b = Builder(names, node.name or node.op_type)
            try:
                result = EXPANSIONS[node.op_type](Call(b, node, opset))
            except UnsupportedError as error:
                node.metadata_props[REFUSAL_KEY] = str(error)
                continue
            replace_node(node, b.nodes, [result])
        if any(node.domain == PROVISIONAL for node in model.graph):
            model.opset_imports[PROVISIONAL] = 1
        return ir.passes.PassResult(model, modified=bool(found))


def _is_expanded(node: ir.Node) -> bool:
    if node.domain not in ("", "ai.onnx") or node.op_type not in EXPANSIONS:
        return False
    return node.outputs[0].dtype is ir.DataType.FLOAT

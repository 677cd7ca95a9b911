"""State the type of what custom operators give inside of model-local functions.

ONNX Runtime infers the types within a function's body before it consults the custom operators, and
refuses a body in which a standard operator reads a value of unknown type. A Cast to float32 states
the type; ONNX Runtime removes it again when it optimizes.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxbf.custom_ops.registry import DOMAIN
from onnxbf.graph import Names, subgraphs_of
from onnxbf.passes.base import GraphPass


@dataclass(frozen=True)
class TypeFunctions(GraphPass):
    """Put a Cast to float32 behind every custom operator in a function's body."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [node for function in model.functions.values() for node in _ours(function.graph)]
        if not found:
            return ir.passes.PassResult(model, modified=False)
        names = Names(model)
        for node in found:
            _state_type(node, names)
        return ir.passes.PassResult(model, modified=True)


def _ours(graph: ir.Graph) -> list[ir.Node]:
    found = [node for node in graph if node.domain == DOMAIN]
    for node in graph:
        for inner in subgraphs_of(node):
            found.extend(_ours(inner))
    return found


def _state_type(node: ir.Node, names: Names) -> None:
    result = node.outputs[0]
    assert node.graph is not None and result.name is not None
    name = result.name
    cast = ir.node("Cast", [result], {"to": int(ir.DataType.FLOAT)}, name=f"{node.name}_type")
    typed = cast.outputs[0]
    typed.type, typed.shape = result.type, result.shape
    result.replace_all_uses_with(typed, replace_graph_outputs=True)
    cast.replace_input_with(0, result)
    result.name, typed.name = names.fresh(f"{name}_untyped"), name
    node.graph.insert_after(node, cast)

"""Write the bodies of a model's functions in the place of their calls."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from onnxbf.errors import UnsupportedError
from onnxbf.graph import Names
from onnxbf.passes.base import GraphPass

_ORIGIN = "onnxbf.function_constant"


@dataclass(frozen=True)
class InlineFunctions(GraphPass):
    """Inline all functions; their float32 tensors become initializers of the model.

    A function holds its weights as constants. Those of a function that is called several times are
    one initializer: they are one weight.

    Raises:
        UnsupportedError: a function of another opset than the model's.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        if not model.functions:
            return ir.passes.PassResult(model, modified=False)
        for identifier, function in model.functions.items():
            _adopt_imports(model, function)
            _mark_constants(":".join(identifier), function)
            _forget_shapes(function)
        InlinePass()(model)
        _lift(model)
        return ir.passes.PassResult(model, modified=True)


def _adopt_imports(model: ir.Model, function: ir.Function) -> None:
    """Versions of functions' own domains say nothing once the functions are inlined."""
    theirs, ours = function.opset_imports.get(""), model.opset_imports.get("")
    if theirs is not None and ours is not None and theirs != ours:
        raise UnsupportedError(
            f"Function {function.name!r} has opset {theirs} and the model {ours}: it cannot be "
            "inlined, and so not trained. Export the model with one opset."
        )
    for domain in function.opset_imports:
        if domain in model.opset_imports:
            function.opset_imports[domain] = model.opset_imports[domain]


def _forget_shapes(function: ir.Function) -> None:
    """Exporters state shapes of one call, or wrong ones; they are inferred anew."""
    for node in function:
        for value in node.outputs:
            value.type = value.shape = None


def _mark_constants(identifier: str, function: ir.Function) -> None:
    for node in function:
        tensor = node.attributes.get("value") if node.op_type == "Constant" else None
        if tensor is None or tensor.is_ref():
            continue
        if tensor.as_tensor().dtype is ir.DataType.FLOAT and tensor.as_tensor().size > 1:
            node.metadata_props[_ORIGIN] = f"{identifier}/{node.outputs[0].name}"


def _lift(model: ir.Model) -> None:
    graph, names = model.graph, Names(model)
    lifted: dict[str, ir.Value] = {}
    for node in list(graph):
        origin = node.metadata_props.get(_ORIGIN)
        if origin is None:
            continue
        if origin not in lifted:
            tensor = node.attributes["value"].as_tensor()
            lifted[origin] = ir.Value(
                name=names.fresh(f"{node.name or node.outputs[0].name}/value"),
                type=ir.TensorType(tensor.dtype),
                shape=ir.Shape(tensor.numpy().shape),
                const_value=tensor,
            )
            graph.register_initializer(lifted[origin])
        node.outputs[0].replace_all_uses_with(lifted[origin], replace_graph_outputs=True)
        graph.remove(node, safe=True)

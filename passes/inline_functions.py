"""Write the bodies of a model's functions in the place of their calls."""

from __future__ import annotations

from dataclasses import dataclass, field

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

    Attributes:
        lifted: filled in by the pass: for each such initializer which constant it was, see
            ``function_constants``.

    Raises:
        UnsupportedError: a function of another opset than the model's.
    """

    lifted: dict[str, str] = field(default_factory=dict)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        if not model.functions:
            return ir.passes.PassResult(model, modified=False)
        for origin, node in function_constants(model).items():
            node.metadata_props[_ORIGIN] = origin
        for function in model.functions.values():
            _adopt_imports(model, function)
            _forget_shapes(function)
        InlinePass()(model)
        self.lifted.update(_lift(model))
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


def function_constants(model: ir.Model) -> dict[str, ir.Node]:
    """The Constant nodes of functions that hold several float32 numbers, by function and value."""
    return {
        f"{':'.join(identifier)}/{node.outputs[0].name}": node
        for identifier, function in model.functions.items()
        for node in function
        if _holds_numbers(node)
    }


def _holds_numbers(node: ir.Node) -> bool:
    tensor = node.attributes.get("value") if node.op_type == "Constant" else None
    if tensor is None or tensor.is_ref():
        return False
    return tensor.as_tensor().dtype is ir.DataType.FLOAT and tensor.as_tensor().size > 1


def _lift(model: ir.Model) -> dict[str, str]:
    """Make the marked constants initializers; their names, and what they were."""
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
    return {value.name or "": origin for origin, value in lifted.items()}

"""Write roundings in standard ONNX, as pairs of Cast nodes, for any runtime.

A Cast rounds to nearest even, keeps subnormals and saturates only to float8, so only such casts
can be written; any other is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxbf.custom_ops.registry import DOMAIN
from onnxbf.errors import UnsupportedError
from onnxbf.formats import Cast, NumberFormat, Overflow, Rounding, Subnormals
from onnxbf.graph import Names, all_graphs, replace_node
from onnxbf.passes.base import GraphPass
from onnxbf.passes.replace_gradients import restore_gradients
from onnxbf.passes.representable import node_cast
from onnxbf.passes.written_norms import is_part, norm_nodes

_FIRST_OPSET = {"BFLOAT16": 13, "FLOAT8E4M3FN": 19, "FLOAT8E5M2": 19}


_WITHOUT_CAST = {
    "QuantizeRange": "over the range of numbers",
    "QuantizeBlocks": "in blocks",
    "QuantizeScaled": "scaled numbers",
    "QuantizeDelayed": "scaled numbers",
}


@dataclass(frozen=True)
class LowerPortable(GraphPass):
    """Replace QuantizeDequantize by Cast there and back, and Dequantize by one Cast.

    Raises:
        UnsupportedError: a cast that no Cast node expresses, or an opset that lacks the type.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        names = Names(model)
        restore_gradients(model)
        ours = [n for graph in all_graphs(model) for n in graph if n.domain == DOMAIN]
        for node in ours:
            if node.op_type in _WITHOUT_CAST:
                raise UnsupportedError(
                    f"Node {node.name!r} quantizes {_WITHOUT_CAST[node.op_type]}, which no Cast "
                    "does: leave out --portable."
                )
            cast = node_cast(node)
            if cast is not None:
                _check(node, cast, _opset(model))
        norms = norm_nodes(model)
        for node in ours:
            begins = any(is_part(reader, norms) for reader, _ in node.outputs[0].uses())
            _lower(node, names, shield=begins)
        for imports in (model.opset_imports, *(f.opset_imports for f in model.functions.values())):
            imports.pop(DOMAIN, None)
        return ir.passes.PassResult(model, modified=bool(ours))


def _opset(model: ir.Model) -> int:
    return model.opset_imports.get("", 1)


def _check(node: ir.Node, cast: Cast, opset: int) -> None:
    fmt = cast.format
    if fmt.onnx_type is None:
        raise _refusal(node, cast, f"ONNX has no tensor type for {fmt}")
    if cast.rounding is not Rounding.NEAREST_EVEN:
        raise _refusal(node, cast, "Cast rounds to nearest even (rne) alone")
    if cast.subnormals is not Subnormals.KEEP:
        raise _refusal(node, cast, "Cast keeps subnormals")
    if cast.overflow is Overflow.SATURATE and not _is_float8(fmt):
        raise _refusal(node, cast, "Cast saturates to float8 alone")
    needed = _FIRST_OPSET.get(fmt.onnx_type, 1)
    if opset < needed:
        raise _refusal(
            node,
            cast,
            f"Cast to {fmt} needs opset {needed}, the model has {opset} (convert it "
            "with onnx.version_converter)",
        )


def _refusal(node: ir.Node, cast: Cast, why: str) -> UnsupportedError:
    return UnsupportedError(
        f"--portable cannot express {cast} of node {node.name!r}: {why}. "
        "Leave out --portable, or choose another cast in the recipe."
    )


def _is_float8(fmt: NumberFormat) -> bool:
    return fmt.bits == 8


def _lower(node: ir.Node, names: Names, *, shield: bool) -> None:
    """Write a node as Casts.

    ONNX Runtime fuses a normalization that was written out with a Cast before it, and then has no
    kernel for the stored type. ``shield`` puts a node between that does nothing.
    """
    cast, source, result = node_cast(node), node.inputs[0], node.outputs[0]
    assert source is not None
    new_nodes = []
    if cast is not None:
        stored = _cast_node(source, ir.DataType[str(cast.format.onnx_type)], cast)
        stored.name = f"{node.name}_to_{cast.format}"
        stored.outputs[0].name = names.fresh(f"{result.name}_stored")
        new_nodes.append(stored)
        source = stored.outputs[0]
    back = _cast_node(source, ir.DataType.FLOAT, None)
    if shield:
        back.name = f"{node.name}_to_float"
        back.outputs[0].name = names.fresh(f"{result.name}_unshielded")
        new_nodes.append(back)
        back = ir.node("Sum", [back.outputs[0]])
    back.name = node.name
    back.metadata_props.update(node.metadata_props)
    new_nodes.append(back)
    replace_node(node, new_nodes, back.outputs)


def _cast_node(source: ir.Value, dtype: ir.DataType, cast: Cast | None) -> ir.Node:
    attributes = {"to": int(dtype)}
    if cast is not None and _is_float8(cast.format) and cast.overflow is not Overflow.SATURATE:
        attributes["saturate"] = 0
    node = ir.node("Cast", [source], attributes)
    node.outputs[0].type, node.outputs[0].shape = ir.TensorType(dtype), source.shape
    return node

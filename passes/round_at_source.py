"""Round where it is made what all that reads it would round alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxbf.arithmetic import parse_arithmetic
from onnxbf.custom_ops.registry import DOMAIN
from onnxbf.formats import Cast, Rounding
from onnxbf.passes.base import GraphPass
from onnxbf.passes.representable import node_cast

_SOURCES = ("LayerNormalization", "SoftmaxCrossEntropyLossGrad")
_PRODUCTS = ("FusedMatMul", "Gemm", "MatMul")
_MOVES = ("Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")


@dataclass(frozen=True)
class RoundAtSource(GraphPass):
    """Have norms and gradients of losses round their results to what all that read them round to.

    Products under a profile round their factors, which changes nothing where they are rounded
    already; quantize nodes go. In a transformer, four or six products read one normalized tensor,
    forward and backward, and a node of its own rounds the gradient of the logits.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        rounded = [_round(node) for node in list(model.graph) if _is_plain(node)]
        return ir.passes.PassResult(model, modified=any(rounded))


def _is_plain(node: ir.Node) -> bool:
    if node.domain != DOMAIN or node.op_type not in _SOURCES:
        return False
    return not any(node.attributes.get_string(name, "") for name in ("arithmetic", "cast_y"))


def _round(node: ir.Node) -> bool:
    casts = set(_casts(node.outputs[0]))
    if len(casts) != 1:
        return False
    (cast,) = casts
    if cast is None:
        return False
    node.attributes.add(ir.AttrString("cast_y", str(cast)))
    for quantize in list(_quantizers(node.outputs[0])):
        _drop(quantize)
    return True


def _casts(value: ir.Value) -> Iterator[Cast | None]:
    """What each reader rounds ``value`` to; None for one that reads all of its bits."""
    if value.is_graph_output():
        yield None
    for reader, index in value.uses():
        if _moves(reader, index):
            yield from _casts(reader.outputs[0])
        else:
            yield _quantizer_cast(reader) or _factor_cast(reader, index)


def _quantizers(value: ir.Value) -> Iterator[ir.Node]:
    """The quantize nodes among those readers."""
    for reader, index in value.uses():
        if _moves(reader, index):
            yield from _quantizers(reader.outputs[0])
        elif node_cast(reader) is not None:
            yield reader


def _moves(node: ir.Node, index: int) -> bool:
    return node.op_type in _MOVES and not node.domain and index == 0


def _quantizer_cast(node: ir.Node) -> Cast | None:
    """Of a node that rounds a tensor within the graph, the same way each time."""
    cast = node_cast(node)
    if cast is None or cast.rounding is Rounding.STOCHASTIC or node.outputs[0].is_graph_output():
        return None
    return cast


def _drop(quantize: ir.Node) -> None:
    graph, source, result = quantize.graph, quantize.inputs[0], quantize.outputs[0]
    assert graph is not None and source is not None
    result.replace_all_uses_with(source, replace_graph_outputs=False)
    graph.remove(quantize, safe=True)


def _factor_cast(node: ir.Node, index: int) -> Cast | None:
    """Of a factor that is rounded to what the profile takes, and to nothing else before."""
    if node.domain != DOMAIN or node.op_type not in _PRODUCTS or index > 1:
        return None
    if node.attributes.get_string(("cast_a", "cast_b")[index], ""):
        return None
    return parse_arithmetic(node.attributes["arithmetic"].as_string()).operands

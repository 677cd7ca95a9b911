"""Round once, where it is made, what several matrix products would each round."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxbf.arithmetic import parse_arithmetic
from onnxbf.custom_ops.registry import DOMAIN
from onnxbf.formats import Cast
from onnxbf.passes.base import GraphPass

_PRODUCTS = ("FusedMatMul", "Gemm", "MatMul")
_MOVES = ("Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")


@dataclass(frozen=True)
class RoundAtSource(GraphPass):
    """Have LayerNormalization of ours round its result to what all that read it round it to.

    Products under a profile round their factors, which changes nothing where they are rounded
    already. In a transformer, four or six read one normalized tensor, forward and backward.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        rounded = [_round(node) for node in model.graph if _is_plain(node)]
        return ir.passes.PassResult(model, modified=any(rounded))


def _is_plain(node: ir.Node) -> bool:
    if node.domain != DOMAIN or node.op_type != "LayerNormalization":
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
    return True


def _casts(value: ir.Value) -> Iterator[Cast | None]:
    """What each reader rounds ``value`` to; None for one that reads all of its bits."""
    if value.is_graph_output():
        yield None
    for reader, index in value.uses():
        if reader.op_type in _MOVES and not reader.domain and index == 0:
            yield from _casts(reader.outputs[0])
        else:
            yield _factor_cast(reader, index)


def _factor_cast(node: ir.Node, index: int) -> Cast | None:
    """Of a factor that is rounded to what the profile takes, and to nothing else before."""
    if node.domain != DOMAIN or node.op_type not in _PRODUCTS or index > 1:
        return None
    if node.attributes.get_string(("cast_a", "cast_b")[index], ""):
        return None
    return parse_arithmetic(node.attributes["arithmetic"].as_string()).operands

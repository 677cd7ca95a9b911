"""Tell matrix products which of their factors are rounded already, so that they need not look."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxbf.arithmetic import parse_arithmetic
from onnxbf.custom_ops.registry import DOMAIN
from onnxbf.formats import Cast, parse_cast
from onnxbf.passes.base import GraphPass
from onnxbf.passes.mantissas import ALL, mantissa_bits

_PRODUCTS = ("FusedMatMul", "Gemm", "MatMul", "MatMulElementwise")
_FACTORS = ("a", "b")


@dataclass(frozen=True)
class MarkRounded(GraphPass):
    """Set ``rounded_a`` and ``rounded_b`` of products of ours where the graph shows that they hold.

    Kernels read factors where they stand whose numbers the roundings of the product leave alone; to
    see that, they read all of them once more. Runs last: what rounds may be fused into anything.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        known = mantissa_bits(model.graph)
        marked = 0
        for node in model.graph:
            if node.domain == DOMAIN and node.op_type in _PRODUCTS:
                marked += sum(_mark(node, index, known) for index in range(len(_FACTORS)))
        return ir.passes.PassResult(model, modified=bool(marked))


def _mark(node: ir.Node, index: int, known: dict[ir.Value, int]) -> bool:
    factor, name = node.inputs[index], _FACTORS[index]
    wanted = min((cast.format.mantissa_bits for cast in _casts(node, name)), default=ALL)
    if factor is None or wanted == ALL or known.get(factor, ALL) > wanted:
        return False
    node.attributes.add(ir.AttrInt64(f"rounded_{name}", 1))
    return True


def _casts(node: ir.Node, name: str) -> Iterator[Cast]:
    """What a factor goes through."""
    text = node.attributes.get_string(f"cast_{name}", "")
    operands = parse_arithmetic(node.attributes["arithmetic"].as_string()).operands
    if text:
        yield parse_cast(text)
    if operands is not None:
        yield operands

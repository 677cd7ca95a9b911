"""Have matrix products read and write what a Transpose beside them would have turned."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from onnxbf.custom_ops.registry import DOMAIN
from onnxbf.graph import take_place
from onnxbf.passes.base import GraphPass

_PRODUCTS = ("MatMul", "FusedMatMul")
_OPERANDS = ("perm_a", "perm_b")
_RESULT = "perm_y"


@dataclass(frozen=True)
class FoldTransposes(GraphPass):
    """Fold Transpose nodes into the products of ours that read or give what they turn.

    Only where neighbours of a row or of a column stay neighbours in memory: of others, a Transpose
    of its own is faster.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        products = [
            node for node in model.graph if node.domain == DOMAIN and node.op_type in _PRODUCTS
        ]
        folded = [_fold_operands(node) + _fold_result(node) for node in products]
        if any(folded):
            RemoveUnusedNodesPass()(model)
        return ir.passes.PassResult(model, modified=any(folded))


def _fold_operands(product: ir.Node) -> int:
    count = 0
    for index, name in enumerate(_OPERANDS):
        value = product.inputs[index]
        transpose = None if value is None else value.producer()
        order = _order(transpose)
        stays_near = bool(order) and len(order) - 1 in order[-2:]
        if transpose is None or not stays_near or name in product.attributes:
            continue
        product.replace_input_with(index, transpose.inputs[0])
        product.attributes.add(ir.AttrInt64s(name, order))
        count += 1
    return count


def _fold_result(product: ir.Node) -> int:
    value = product.outputs[0]
    readers = [reader for reader, _ in value.uses()]
    order = _order(readers[0]) if len(readers) == 1 else ()
    stays_near = bool(order) and order[-1] >= len(order) - 2
    if not stays_near or value.is_graph_output() or _RESULT in product.attributes:
        return 0
    (transpose,) = readers
    take_place(value, transpose.outputs[0])
    product.attributes.add(ir.AttrInt64s(_RESULT, order))
    assert transpose.graph is not None
    transpose.graph.remove(transpose)
    return 1


def _order(node: ir.Node | None) -> tuple[int, ...]:
    """Of a Transpose; else, or of vectors, empty."""
    if node is None or node.op_type != "Transpose" or node.domain:
        return ()
    order = tuple(node.attributes.get_ints("perm", ()))
    return order if len(order) > 1 else ()

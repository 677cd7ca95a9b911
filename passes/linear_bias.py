"""Find the biases of linear layers that an exporter added in nodes of their own.

Frameworks write one layer as Gemm, or as MatMul and Add. Hardware adds the bias to the accumulators
of the matrix product, before the result is rounded.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from onnxbf.graph import GRADIENT_OF, all_graphs, constant_source

_PRODUCTS = frozenset({"MatMul", "FusedMatMul"})


def biased_products(model: ir.Model) -> dict[ir.Node, ir.Node]:
    """The nodes that add a bias, each with the matrix product that it belongs to.

    The product is one with a weight, nothing else reads it, and the bias is a constant (or a
    parameter, which the gradient graph takes as an input) with a number for each column.
    """
    nodes = (node for graph in all_graphs(model) for node in graph if node.op_type == "Add")
    found = ((node, _product(node)) for node in nodes if GRADIENT_OF not in (node.name or ""))
    return {node: product for node, product in found if product is not None}


def _product(node: ir.Node) -> ir.Node | None:
    for value, other in (node.inputs, reversed(node.inputs)):
        product = None if value is None else value.producer()
        if value is None or product is None or product.op_type not in _PRODUCTS:
            continue
        alone = len(value.uses()) == 1 and not value.is_graph_output()
        columns = _columns(product)
        if alone and columns is not None and _is_bias(other, columns):
            return product if product.graph is node.graph else None
    return None


def _columns(product: ir.Node) -> int | None:
    """The columns of the weight; None where there is none, or they are not known."""
    weight = product.inputs[1]
    if weight is None or constant_source(weight) is None:
        return None
    last = not product.attributes.get_int("transB", 0)
    producer = weight.producer()
    if producer is not None and producer.op_type == "Transpose":
        weight, last = producer.inputs[0], not last
    if weight is None or weight.shape is None or len(weight.shape) != 2:
        return None
    size = weight.shape[1 if last else 0]
    return size if isinstance(size, int) else None


def _is_bias(value: ir.Value | None, columns: int) -> bool:
    if value is None or constant_source(value) is None or value.shape is None:
        return False
    sizes = list(value.shape)
    return bool(sizes) and sizes[-1] == columns and math.prod(map(_number, sizes)) == columns


def _number(size: int | ir.SymbolicDim) -> int:
    return size if isinstance(size, int) else 0

"""Find normalizations that an exporter, or an expansion, wrote out as several nodes.

x / sqrt(mean(x²) + eps), with x centered first or not, or a node that normalizes; then times a
scale, plus a bias. Hardware computes this as one operation on float32, so a recipe rounds what goes
into it and nothing in between.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from onnxbf.graph import GRADIENT_OF, NORM_PART, SUM_OF, all_graphs, constant_of, constant_source
from onnxbf.operators import Kind, find_operator


def norm_nodes(model: ir.Model) -> frozenset[str]:
    """The names of all nodes that are parts of such a normalization.

    That is of forward nodes, and of those that sum gradients of what lies within.
    """
    nodes = [node for graph in all_graphs(model) for node in graph]
    parts = {part for node in nodes if not _is_backward(node) for part in _parts(node)}
    inner = (value for part in parts for value in part.outputs if _is_inner(value, parts))
    sums = {f"{SUM_OF}{value.name}_grad" for value in inner}
    names = {part.name or "" for part in parts}
    return frozenset(names | (sums & {node.name or "" for node in nodes}))


def is_part(node: ir.Node | None, norms: frozenset[str]) -> bool:
    """Whether a node is a part, or differentiates one."""
    if node is None or not norms:
        return False
    return (node.name or "").split(GRADIENT_OF)[0] in norms


def _is_inner(value: ir.Value, parts: set[ir.Node]) -> bool:
    """Whether only parts of a normalization read a value in the forward pass."""
    readers = {reader for reader, _ in value.uses() if not _is_backward(reader)}
    return not value.is_graph_output() and readers <= parts


def _parts(node: ir.Node) -> Iterator[ir.Node]:
    """The nodes of the normalization that ``node`` is of, begins, or takes the square root of."""
    if f"/{NORM_PART}/" in (node.name or ""):
        yield node
    if node.op_type == "Sqrt":
        yield from _around(node)
    row = find_operator(node.domain, node.op_type)
    if row is None or row.kind is not Kind.NORMALIZATION:
        return
    turned = [reader for reader, _ in node.outputs[0].uses() if reader.op_type == "Reshape"]
    affine = _affine(turned[0] if turned else node)
    if affine:
        yield from (node, *turned[:1], *affine)


def _around(root: ir.Node) -> Iterator[ir.Node]:
    """The nodes of the normalization that takes this square root; none if nothing does."""
    plus_eps = _made_by(root.inputs[0], "Add")
    mean = _mean_of(plus_eps)
    square = None if mean is None else _made_by(mean.inputs[0], "Pow", "Mul")
    if plus_eps is None or mean is None or square is None or not _is_square(square):
        return
    x = square.inputs[0]
    before = [square, mean, plus_eps, root, *_centering(x)]
    for divided in _divisions(root, x):
        yield from (*before, *divided, *_affine(divided[-1]))


def _made_by(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    producer = None if value is None else value.producer()
    return producer if producer is not None and producer.op_type in op_types else None


def _mean_of(plus_eps: ir.Node | None) -> ir.Node | None:
    """The mean that the small number is added to."""
    if plus_eps is None:
        return None
    values = [value for value in plus_eps.inputs if value is not None]
    if not any(_is_number(value) for value in values):
        return None
    means = (_made_by(value, "ReduceMean") for value in values)
    return next((mean for mean in means if mean is not None), None)


def _is_number(value: ir.Value | None) -> bool:
    tensor = None if value is None else constant_of(value)
    return tensor is not None and tensor.size == 1


def _is_square(node: ir.Node) -> bool:
    first, second = node.inputs[:2]
    if node.op_type == "Mul":
        return first is second
    power = None if second is None else constant_of(second)
    return power is not None and bool(np.all(power.numpy() == 2))


def _centering(x: ir.Value | None) -> list[ir.Node]:
    """The nodes that take the mean off, where the norm does."""
    difference = _made_by(x, "Sub")
    mean = None if difference is None else _made_by(difference.inputs[1], "ReduceMean")
    if difference is None or mean is None or mean.inputs[0] is not difference.inputs[0]:
        return []
    return [difference, mean]


def _divisions(root: ir.Node, x: ir.Value | None) -> Iterator[list[ir.Node]]:
    """The nodes that divide x by the root: at once, or by way of its reciprocal."""
    for reader, index in root.outputs[0].uses():
        if reader.op_type == "Div" and index == 1 and reader.inputs[0] is x:
            yield [reader]
        is_reciprocal = reader.op_type == "Div" and index == 1 and _is_number(reader.inputs[0])
        if reader.op_type != "Reciprocal" and not is_reciprocal:
            continue
        for product, _ in reader.outputs[0].uses():
            if product.op_type == "Mul" and any(value is x for value in product.inputs):
                yield [reader, product]


def _affine(node: ir.Node) -> list[ir.Node]:
    """The nodes that apply the scale and the bias."""
    found: list[ir.Node] = []
    for op_type in ("Mul", "Add"):
        readers = [reader for reader, _ in node.outputs[0].uses() if not _is_backward(reader)]
        if len(readers) != 1 or readers[0].op_type != op_type or not _has_parameter(readers[0]):
            continue
        (node,) = readers
        found.append(node)
    return found


def _is_backward(node: ir.Node) -> bool:
    name = node.name or ""
    return GRADIENT_OF in name or name.startswith(SUM_OF)


def _has_parameter(node: ir.Node) -> bool:
    return any(value is not None and constant_source(value) is not None for value in node.inputs)

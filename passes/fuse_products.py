"""Let matrix products finish their results: biases, roundings, activations, in one pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import onnx_ir as ir

from onnxbf.custom_ops.registry import DOMAIN, OPS, PROGRAM
from onnxbf.graph import Names, subgraphs_of, take_place
from onnxbf.passes.base import GraphPass
from onnxbf.passes.elementwise_regions import (
    AS_IN_ONNX_RUNTIME,
    Form,
    Operand,
    Region,
    find_regions,
    fits,
    program_of,
    shape_of,
)
from onnxbf.passes.fuse_elementwise import let_gradients_read_results

FUSED = "MatMulElementwise"
_FACTORS: Mapping[str, int] = {"MatMul": 2, "FusedMatMul": 2, "Gemm": 3}  # and what Gemm adds


# Its result, and a residual or what masks it: to read more takes as long in a pass of its own.
_MOST_TENSORS = 2
_MOST_READ = 7  # leaves room for what Gemm adds: Epilogue::kMostOthers, csrc/epilogue.h


@dataclass(frozen=True)
class FuseProducts(GraphPass):
    """Replace products of ours, and the elementwise nodes that alone read them, by one node.

    A product then adds a bias or a residual, rounds, and applies or masks by an activation while
    its numbers are in the cache, to the same bits. Runs before FuseElementwise, and takes what that
    could fuse, if one tensor comes out. Left alone are roundings that are observed, products that
    are summed stochastically by step, and those that a Transpose was folded into behind.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graph, names = model.graph, Names(model)
        if any(True for node in graph for _ in subgraphs_of(node)):
            return ir.passes.PassResult(model, modified=False)
        order = {node: index for index, node in enumerate(graph) if _is_open(node)}
        if not order:
            return ir.passes.PassResult(model, modified=False)
        let_gradients_read_results(graph)
        fused = 0
        # The last ones first, as in FuseElementwise.
        for region in sorted(find_regions(graph, AS_IN_ONNX_RUNTIME), key=lambda each: -each.stage):
            product = _product(region, order)
            if product is not None and fits(region):
                _replace(graph, region, product, names)
                fused += 1
        if fused:
            graph.sort()
        return ir.passes.PassResult(model, modified=bool(fused))


def _is_open(node: ir.Node) -> bool:
    """Whether a node is a product whose result may be computed on."""
    if node.domain != DOMAIN or node.op_type not in _FACTORS or "perm_y" in node.attributes:
        return False
    return len(node.inputs) <= _FACTORS[node.op_type] and _can_add(node)


def _can_add(node: ir.Node) -> bool:
    """Whether a program can add what Gemm adds, if it does."""
    term = _term(node)
    if term is None:
        return True
    shape, own = shape_of(node.outputs[0]), shape_of(term)
    if shape is None or own is None or node.attributes.get_float("beta", 1.0) != 1.0:
        return False
    return own == shape[len(shape) - len(own) :]


def _term(node: ir.Node) -> ir.Value | None:
    """What a Gemm adds."""
    return node.inputs[2] if len(node.inputs) > 2 else None


def _product(region: Region, order: Mapping[ir.Node, int]) -> ir.Node | None:
    """The last of the products that a region alone reads."""
    if len(region.outputs) != 1 or region.form.observed or not _reads_little(region):
        return None
    inside, found = set(region.nodes), []
    for value in region.tensors:
        producer = value.producer()
        if producer is None or producer not in order or value.is_graph_output():
            continue
        if {reader for reader, _ in value.uses()} <= inside:
            found.append(producer)
    return max(found, key=order.__getitem__, default=None)


def _reads_little(region: Region) -> bool:
    return (
        len(region.tensors) <= _MOST_TENSORS
        and len(region.tensors) + len(region.others) <= _MOST_READ
    )


def _replace(graph: ir.Graph, region: Region, product: ir.Node, names: Names) -> None:
    attributes = {n: each for n, each in product.attributes.items() if n in OPS[FUSED].attributes}
    result: Operand = ("tensor", region.tensors.index(product.outputs[0]))
    values: dict[Operand, ir.Value] = {
        **{("tensor", i): value for i, value in enumerate(region.tensors)},
        **{("other", i): value for i, value in enumerate(region.others)},
    }
    del values[result]
    form, term = region.form, _term(product)
    if term is not None:
        values["term", 0] = term
        cast = attributes.pop("cast_y", None)
        form = _added_first(form, result, "" if cast is None else cast.as_string())
    places = {result: "x0"} | {each: f"x{i}" for i, each in enumerate(values, start=1)}
    node = ir.node(
        FUSED,
        [*product.inputs[:2], *values.values()],
        {**attributes, PROGRAM: ir.AttrString(PROGRAM, str(program_of(form, places)))},
        domain=DOMAIN,
        name=names.fresh(f"{product.name}/{region.nodes[-1].name}"),
        metadata_props=dict(product.metadata_props),
    )
    graph.append(node)
    take_place(node.outputs[0], region.outputs[0])
    graph.remove([product, *region.nodes], safe=True)


def _added_first(form: Form, result: Operand, cast: str) -> Form:
    """A form after the addition that Gemm does before it rounds its result."""
    first: list[tuple[str, tuple[Operand, ...]]] = [("Add", (result, ("term", 0)))]
    if cast:
        first.append((cast, (("step", 0),)))
    count = len(first)

    def moved(operand: Operand) -> Operand:
        if operand == result:
            return "step", count - 1
        return ("step", operand[1] + count) if operand[0] == "step" else operand

    steps = [(name, tuple(map(moved, operands))) for name, operands in form.steps]
    outputs = tuple(index + count for index in form.outputs)
    return replace(form, steps=(*first, *steps), outputs=outputs)

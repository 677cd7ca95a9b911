"""Replace matrix products by operators that sum as an arithmetic profile says."""

from __future__ import annotations

import zlib
from collections import Counter
from dataclasses import dataclass, replace

import onnx_ir as ir

from onnxbf.arithmetic import PROFILES, Arithmetic
from onnxbf.custom_ops.registry import DOMAIN, OPS, VERSION
from onnxbf.errors import OnnxbfError
from onnxbf.formats import Cast, Rounding, parse_cast
from onnxbf.graph import all_graphs, step_input, take_place
from onnxbf.passes.base import GraphPass
from onnxbf.passes.choose import EVERYTHING, Selection, decide, shape_values
from onnxbf.passes.representable import node_cast
from onnxbf.passes.written_norms import norm_nodes
from onnxbf.recipe import EMULATED, Recipe
from onnxbf.report import Emulated

_CASTS = ("cast_a", "cast_b")


@dataclass(frozen=True)
class EmulateCompute(GraphPass):
    """Replace each node whose rule names an arithmetic; it runs when all quantize nodes stand.

    A quantize node that only such nodes read is dropped, and they round the operand themselves; so
    is one that alone reads their result. Nodes that no operator of ours computes stay as they are,
    and the report says so. Under ``fp32``, the runtime's own kernel computes.

    Args:
        seed: of sums that are rounded stochastically; each node draws a stream of its own from it.
    """

    recipe: Recipe
    selection: Selection = EVERYTHING
    seed: int = 0

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        if not self.recipe.arithmetics:
            return ir.passes.PassResult(model, modified=False)
        chosen = self.choose(model)
        swallowed: dict[str, str] = {}
        for node, arithmetic in chosen.items():
            made = _replace(node, arithmetic, chosen, swallowed)
            if arithmetic.stochastic:
                self.draw(model, made)
            self.report.emulated.append(Emulated(node.name or "", node.op_type, str(arithmetic)))
        self.report.changes[:] = [
            replace(change, quantize=swallowed.get(change.quantize, change.quantize))
            for change in self.report.changes
        ]
        if not chosen:
            return ir.passes.PassResult(model, modified=False)
        for imports in (model.opset_imports, *(f.opset_imports for f in model.functions.values())):
            imports[DOMAIN] = VERSION
        return ir.passes.PassResult(model, modified=True)

    def choose(self, model: ir.Model) -> dict[ir.Node, Arithmetic]:
        """The nodes that are replaced; what cannot be is noted."""
        shapes, norms = shape_values(model), norm_nodes(model)
        chosen: dict[ir.Node, Arithmetic] = {}
        left: Counter[tuple[str, str]] = Counter()
        for graph in all_graphs(model):
            for node in graph:
                rule = decide(model, node, self.recipe, self.selection, shapes, norms).rule
                arithmetic = None if rule is None else rule.arithmetic
                if arithmetic is None or arithmetic == PROFILES["fp32"]:
                    continue
                if _has_operator(node):
                    chosen[node] = arithmetic
                else:
                    left[node.op_type, str(arithmetic)] += 1
        self.report.notes.extend(
            f"{op_type} x{count} sums as the runtime does, not as {arithmetic}: only "
            f"{', '.join(EMULATED)} can."
            for (op_type, arithmetic), count in left.items()
        )
        return chosen

    def draw(self, model: ir.Model, node: ir.Node) -> None:
        """Give a node what its random bits depend on."""
        key = zlib.crc32(f"{node.outputs[0].name} sums".encode())
        node.attributes.add(ir.AttrInt64("seed", self.seed))
        node.attributes.add(ir.AttrInt64("node", key))
        step = step_input(model)
        if step is not None:
            node.resize_inputs(len(OPS[node.op_type].inputs))
            node.replace_input_with(len(node.inputs) - 1, step)


def _has_operator(node: ir.Node) -> bool:
    """Whether an operator of ours does all that this node does."""
    if node.op_type not in EMULATED:
        return False
    known = OPS[node.op_type].attributes
    return all(name in known or not attribute.value for name, attribute in node.attributes.items())


def _replace(
    node: ir.Node,
    arithmetic: Arithmetic,
    chosen: dict[ir.Node, Arithmetic],
    swallowed: dict[str, str],
) -> ir.Node:
    graph = node.graph
    assert graph is not None
    inputs, casts = list(node.inputs), {}
    for index, attribute in enumerate(_CASTS):
        quantize = _swallowable(inputs[index])
        if quantize is None or not _read_by_products_alone(quantize, chosen):
            continue
        cast = node_cast(quantize)
        inputs[index] = quantize.inputs[0]
        if cast != arithmetic.operands:
            casts[attribute] = str(cast)
        swallowed[quantize.name or ""] = node.name or ""
    result, after = node.outputs[0], _rounding_after(node)
    if after is not None:
        casts["cast_y"] = str(node_cast(after))
        swallowed[after.name or ""] = node.name or ""
        result = after.outputs[0]
    operator = _operator(node, arithmetic)
    inputs = inputs[:2] if operator != node.op_type else inputs
    known = OPS[operator].attributes
    kept = {name: each for name, each in node.attributes.items() if name in known}
    made = ir.node(
        operator,
        inputs,
        {**kept, "arithmetic": str(arithmetic), **casts},
        domain=DOMAIN,
        name=node.name,
        metadata_props=dict(node.metadata_props),
    )
    graph.insert_before(node, made)
    take_place(made.outputs[0], result)
    before = [value for value in node.inputs if value is not None]
    if after is not None:
        graph.remove(after, safe=True)
    graph.remove(node, safe=True)
    for value in before:
        quantize = _swallowable(value)
        unread = quantize is not None and not value.uses() and not value.is_graph_output()
        if quantize is not None and unread and quantize.graph is not None:
            quantize.graph.remove(quantize, safe=True)
    return made


def _operator(node: ir.Node, arithmetic: Arithmetic) -> str:
    """A Gemm without C becomes a FusedMatMul where it is to have a step.

    ONNX Runtime 1.19 does not survive a custom operator with an input left out before another.
    """
    has_term = len(node.inputs) > 2 and node.inputs[2] is not None
    if node.op_type == "Gemm" and arithmetic.stochastic and not has_term:
        return "FusedMatMul"
    return node.op_type


def _swallowable(value: ir.Value | None) -> ir.Node | None:
    """The quantize node that gives a value, if our operators can round as it does."""
    node = None if value is None else value.producer()
    cast = None if node is None else node_cast(node)
    return node if cast is not None and _is_text(cast) else None


def _is_text(cast: Cast) -> bool:
    if cast.rounding is Rounding.STOCHASTIC:
        return False
    try:
        return parse_cast(str(cast)) == cast
    except OnnxbfError:  # a format without a name
        return False


def _read_by_products_alone(quantize: ir.Node, chosen: dict[ir.Node, Arithmetic]) -> bool:
    """Those that were replaced already read what it reads."""
    value = quantize.outputs[0]
    if value.is_graph_output() or quantize.graph is None:
        return False
    return all(reader in chosen and index < len(_CASTS) for reader, index in value.uses())


def _rounding_after(node: ir.Node) -> ir.Node | None:
    """The quantize node that alone reads what a node gives."""
    value = node.outputs[0]
    readers = [reader for reader, _ in value.uses()]
    if len(readers) != 1 or value.is_graph_output() or readers[0].graph is not node.graph:
        return None
    return readers[0] if _swallowable(readers[0].outputs[0]) else None

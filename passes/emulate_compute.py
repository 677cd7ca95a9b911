"""Replace what sums by operators that sum as an arithmetic profile says."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from onnxbf.arithmetic import PROFILES, Arithmetic
from onnxbf.custom_ops.registry import DOMAIN, OPS, VERSION
from onnxbf.errors import OnnxbfError
from onnxbf.formats import Cast, Rounding, parse_cast
from onnxbf.graph import all_graphs, step_input, take_place
from onnxbf.operators import Kind
from onnxbf.passes.base import GraphPass
from onnxbf.passes.choose import EVERYTHING, Selection, decide, operator_of, shape_values
from onnxbf.passes.emulation import Emulation, emulation_of, is_read, oldest_opset
from onnxbf.passes.representable import node_cast
from onnxbf.passes.written_norms import norm_nodes
from onnxbf.recipe import EMULATED, Recipe
from onnxbf.report import Emulated

_CASTS = ("cast_a", "cast_b")
_SUMMING = (Kind.GEMM, Kind.NORMALIZATION, Kind.REDUCTION, Kind.LOSS)


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
        opset, emulations = oldest_opset(model), {}
        for node, arithmetic in chosen.items():
            emulation = emulation_of(node, opset, arithmetic.stochastic)
            assert emulation is not None  # as chosen
            emulations[node] = emulation
        for node, arithmetic in chosen.items():
            made = _replace(node, arithmetic, emulations, swallowed)
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
        shapes, norms, opset = shape_values(model), norm_nodes(model), oldest_opset(model)
        chosen: dict[ir.Node, Arithmetic] = {}
        left: Counter[tuple[str, str]] = Counter()
        for graph in all_graphs(model):
            for node in graph:
                rule = decide(model, node, self.recipe, self.selection, shapes, norms).rule
                arithmetic = None if rule is None else rule.arithmetic
                if arithmetic is None or arithmetic == PROFILES["fp32"]:
                    continue
                operator = operator_of(node)
                if emulation_of(node, opset) is not None:
                    chosen[node] = arithmetic
                elif operator is not None and operator.kind in _SUMMING:
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


def _replace(
    node: ir.Node,
    arithmetic: Arithmetic,
    emulations: Mapping[ir.Node, Emulation],
    swallowed: dict[str, str],
) -> ir.Node:
    graph, emulation = node.graph, emulations[node]
    assert graph is not None
    inputs = [node.inputs[index] for index in emulation.inputs if index < len(node.inputs)]
    casts = {}
    for index, value in enumerate(inputs[: 3 if emulation.sizing else emulation.operands]):
        quantize = _swallowable(value)
        if quantize is None or not _read_by_products_alone(quantize, emulations):
            continue
        cast = node_cast(quantize)
        inputs[index] = quantize.inputs[0]
        implied = emulation.sums_operands and cast == arithmetic.operands
        if index < emulation.operands and not implied:
            casts[_CASTS[index]] = str(cast)
        swallowed[quantize.name or ""] = node.name or ""
    results = [node.outputs[index] for index in emulation.outputs]
    after = _rounding_after(results[0])
    if after is not None:
        casts["cast_y"] = str(node_cast(after))
        swallowed[after.name or ""] = node.name or ""
        results[0] = after.outputs[0]
    for place, array in emulation.constants.items():
        inputs[place:] = [_constant(node, OPS[emulation.operator].inputs[place], array)]
    known = OPS[emulation.operator].attributes
    kept = {name: each for name, each in node.attributes.items() if name in known}
    made = ir.node(
        emulation.operator,
        inputs,
        {**kept, **emulation.attributes, "arithmetic": str(arithmetic), **casts},
        domain=DOMAIN,
        name=node.name,
        num_outputs=len(results),
        metadata_props=dict(node.metadata_props),
    )
    graph.insert_before(node, made)
    for new, old in zip(made.outputs, results):
        take_place(new, old)
    before = [value for value in node.inputs if value is not None]
    if after is not None:
        graph.remove(after, safe=True)
    graph.remove(node, safe=True)
    for value in before:
        quantize = _swallowable(value)
        if quantize is not None and not is_read(value) and quantize.graph is not None:
            quantize.graph.remove(quantize, safe=True)
    return made


def _constant(node: ir.Node, name: str, array: NDArray[Any]) -> ir.Value:
    """An input that ``node`` lacks."""
    assert node.graph is not None
    made = ir.node("Constant", [], {"value": ir.tensor(array)})
    made.name = made.outputs[0].name = f"{node.name}_{name.removesuffix('?')}"
    node.graph.insert_before(node, made)
    return made.outputs[0]


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


def _read_by_products_alone(quantize: ir.Node, emulations: Mapping[ir.Node, Emulation]) -> bool:
    """Those that were replaced already read what it reads."""
    value = quantize.outputs[0]
    if value.is_graph_output() or quantize.graph is None:
        return False
    return all(
        reader in emulations
        and (index < emulations[reader].operands or reader.op_type == "ConvGrad")
        for reader, index in value.uses()
    )


def _rounding_after(value: ir.Value) -> ir.Node | None:
    """The quantize node that alone reads a value."""
    readers, producer = [reader for reader, _ in value.uses()], value.producer()
    assert producer is not None
    if len(readers) != 1 or value.is_graph_output() or readers[0].graph is not producer.graph:
        return None
    return readers[0] if _swallowable(readers[0].outputs[0]) else None

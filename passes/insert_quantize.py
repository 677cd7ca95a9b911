"""Insert quantize/dequantize nodes around compute nodes, as a recipe says."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

import onnx_ir as ir

from onnxbf.custom_ops.registry import DOMAIN, VERSION, cast_attributes
from onnxbf.formats import Cast, Rounding
from onnxbf.graph import ROLE_KEY, Names, step_input, subgraphs_of, top_graphs
from onnxbf.operators import Operator, Role
from onnxbf.passes.base import GraphPass
from onnxbf.passes.choose import EVERYTHING, Selection, decide, role_of, shape_values
from onnxbf.recipe import Recipe, Rule
from onnxbf.report import Change, Covered, Skipped


@dataclass(frozen=True)
class InsertQuantize(GraphPass):
    """Round every tensor that the recipe names; each tensor once for each cast.

    The rounded inputs of a node are shared with every later reader of the same tensor under the
    same cast. A rounded output takes the place of the output for all its readers, graph outputs
    included, which keep their names.

    Args:
        seed: the seed of stochastic rounding; each node draws a stream of its own from it.
    """

    recipe: Recipe
    selection: Selection = EVERYTHING
    seed: int = 0

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        insertion = _Insertion(self, model, Names(model), shape_values(model))
        for graph in top_graphs(model):
            insertion.graph(graph, ())
        self._note_unmatched(model)
        if not self.report.changes:
            return ir.passes.PassResult(model, modified=False)
        model.opset_imports[DOMAIN] = VERSION
        for function in model.functions.values():
            function.opset_imports[DOMAIN] = VERSION
        return ir.passes.PassResult(model, modified=True)

    def _note_unmatched(self, model: ir.Model) -> None:
        used = {covered.rule for covered in self.report.covered}
        for position, rule in enumerate(self.recipe.rules):
            if position not in used:
                ops = ", ".join(rule.ops)
                self.report.notes.append(
                    f"rule {position + 1} of the recipe ({ops}) matched no node."
                )
        self.report.warnings.extend(self.selection.unmatched(model))


@dataclass(frozen=True)
class _Insertion:
    options: InsertQuantize
    model: ir.Model
    names: Names
    shapes: frozenset[ir.Value]
    rounded: dict[tuple[ir.Value, Cast], ir.Value] = field(default_factory=dict)

    def graph(self, graph: ir.Graph, owners: tuple[ir.Node, ...]) -> None:
        """``owners``: the nodes that hold this graph, outermost first."""
        for node in tuple(graph):
            path = (*owners, node)
            for inner in subgraphs_of(node):
                self.graph(inner, path)
            self.node(node, path)

    def node(self, node: ir.Node, path: tuple[ir.Node, ...]) -> None:
        recipe, report = self.options.recipe, self.options.report
        report.nodes += 1
        decision = decide(self.model, node, recipe, self.options.selection, self.shapes)
        if decision.rule is None or decision.operator is None:
            report.skipped.append(Skipped(node.name or "", node.op_type, decision.reason))
            return
        report.covered.append(
            Covered(node.name or "", node.op_type, recipe.rules.index(decision.rule))
        )
        self.inputs(node, decision.operator, decision.rule, path)
        self.outputs(node, decision.operator, decision.rule)

    def inputs(
        self, node: ir.Node, operator: Operator, rule: Rule, path: tuple[ir.Node, ...]
    ) -> None:
        for index, value in enumerate(node.inputs):
            role = role_of(node, operator, index)
            cast = rule.cast(role) if role is not None else None
            if value is None or role is None or cast is None:
                continue
            known = self.rounded.get((value, cast))
            if known is None:
                known = self.quantize(value, cast, role, node)
                _place(known, value, path)
            node.replace_input_with(index, known)

    def outputs(self, node: ir.Node, operator: Operator, rule: Rule) -> None:
        if rule.outputs is None:
            return
        for index, value in enumerate(node.outputs):
            wanted = operator.output_role(index) is Role.OUTPUT and value.name
            if not wanted or value.dtype is not ir.DataType.FLOAT or node.graph is None:
                continue
            is_output = value.is_graph_output()
            readers = tuple(value.uses())
            rounded = self.quantize(value, rule.outputs, Role.OUTPUT, node)
            for reader, position in readers:
                reader.replace_input_with(position, rounded)
            if is_output:
                self.take_over_output(value, rounded)
            node.graph.insert_after(node, _producer(rounded))

    def take_over_output(self, value: ir.Value, rounded: ir.Value) -> None:
        """Make ``rounded`` the graph output that ``value`` was, under its name."""
        name = value.name
        assert name is not None
        value.replace_all_uses_with(rounded, replace_graph_outputs=True)
        _producer(rounded).replace_input_with(0, value)
        value.name = self.names.fresh(f"{name}_fp32")
        rounded.name = name

    def quantize(self, value: ir.Value, cast: Cast, role: Role, node: ir.Node) -> ir.Value:
        """A new node, not placed yet, that rounds ``value``; returns its output."""
        name = self.names.fresh(f"{value.name}_{cast.format}")
        key = zlib.crc32(name.encode())  # a stable number of the node's own for its random stream
        attributes = cast_attributes(cast, seed=self.options.seed, node=key)
        stochastic = cast.rounding is Rounding.STOCHASTIC
        step = step_input(self.model) if stochastic else None
        quantize = ir.node(
            "QuantizeDequantize",
            [value] if step is None else [value, step],
            attributes,
            domain=DOMAIN,
            name=f"{name}_quantize",
            metadata_props={ROLE_KEY: role.value},
        )
        rounded = quantize.outputs[0]
        rounded.name, rounded.type, rounded.shape = name, value.type, value.shape
        self.rounded[value, cast] = self.rounded[rounded, cast] = rounded
        self.options.report.changes.append(
            Change(
                quantize.name or "",
                value.name or "",
                str(cast),
                role.value,
                node.name or "",
                node.op_type,
            )
        )
        return rounded


def _producer(value: ir.Value) -> ir.Node:
    producer = value.producer()
    assert producer is not None
    return producer


def _place(rounded: ir.Value, value: ir.Value, path: tuple[ir.Node, ...]) -> None:
    """Put the rounding node into the graph where ``value`` lives.

    Behind the node that computes it or, for inputs and initializers, before the first reader.
    """
    producer = value.producer()
    if producer is not None and producer.graph is not None:
        producer.graph.insert_after(producer, _producer(rounded))
        return
    reader = next(node for node in path if node.graph is value.graph)
    assert value.graph is not None
    value.graph.insert_before(reader, _producer(rounded))

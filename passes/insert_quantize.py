"""Insert quantize/dequantize nodes around compute nodes, as a recipe says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from onnxbf.block_cast import BlockCast
from onnxbf.casts import AnyCast
from onnxbf.custom_ops.registry import DOMAIN, VERSION
from onnxbf.graph import (
    GRADIENT_OF,
    REARRANGES,
    SUM_OF,
    Names,
    Phase,
    is_loss,
    phase_of,
    subgraphs_of,
    top_graphs,
)
from onnxbf.operators import OPERATORS, Operator, Role
from onnxbf.passes.base import GraphPass
from onnxbf.passes.choose import (
    EVERYTHING,
    Gradients,
    Selection,
    decide,
    gradient_values,
    operator_of,
    role_of,
    shape_values,
)
from onnxbf.passes.contracted_axis import placed
from onnxbf.passes.linear_bias import biased_products
from onnxbf.passes.quantizer import Quantizer, producer_of
from onnxbf.passes.written_norms import is_part, norm_nodes
from onnxbf.range_cast import RangeCast
from onnxbf.recipe import Recipe, Rule
from onnxbf.report import Covered, Skipped


@dataclass(frozen=True)
class InsertQuantize(GraphPass):
    """Round every tensor that the recipe names; each tensor once for each cast.

    The rounded inputs of a node are shared with every later reader of the same tensor, or of a
    rearrangement of it, under the same cast. A rounded output takes the place of the output for
    all its readers, graph outputs included, which keep their names. A matrix product and the bias
    that is added to it are one operation: its result is rounded. What a gradient reads of the
    forward pass is what the forward node read. Outputs of the weight gradient phase are left to
    RoundWeightGradients.

    Args:
        seed: the seed of stochastic rounding; each node draws a stream of its own from it.
    """

    recipe: Recipe
    selection: Selection = EVERYTHING
    seed: int = 0

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        quantizer = Quantizer(model, Names(model), self.report, self.seed)
        biased = biased_products(model)
        insertion = _Insertion(
            self,
            quantizer,
            shape_values(model),
            gradient_values(model),
            norm_nodes(model),
            biased,
            frozenset(biased.values()),
        )
        for graph in top_graphs(model):
            insertion.graph(graph, ())
        insertion.read_as_forward(model.graph)
        insertion.finish_copies()
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
    quantizer: Quantizer
    shapes: frozenset[ir.Value]
    gradients: Gradients
    norms: frozenset[str]
    biased: Mapping[ir.Node, ir.Node]  # what adds a bias, and the product that it is added to
    products: frozenset[ir.Node]
    rules: dict[ir.Node | None, Rule] = field(default_factory=dict)  # of those products
    rounded: dict[tuple[ir.Value, AnyCast], ir.Value] = field(default_factory=dict)
    kept: dict[tuple[str, ir.Value], ir.Value] = field(default_factory=dict)
    rearranged: list[tuple[ir.Node, ir.Node]] = field(default_factory=list)  # and its copy

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
        product = self.biased.get(node)
        if product in self.rules:
            self.bias(node, product, path)
            return
        decision = decide(
            self.quantizer.model, node, recipe, self.options.selection, self.shapes, self.norms
        )
        if decision.rule is None or decision.operator is None:
            report.skipped.append(Skipped(node.name or "", node.op_type, decision.reason))
            return
        report.covered.append(
            Covered(node.name or "", node.op_type, recipe.rules.index(decision.rule))
        )
        self.inputs(node, decision.operator, decision.rule, path)
        if node in self.products:
            self.rules[node] = decision.rule
            return
        self.outputs(node, decision.operator, decision.rule)

    def bias(self, node: ir.Node, product: ir.Node | None, path: tuple[ir.Node, ...]) -> None:
        """Round for a node that adds the bias of a matrix product, as the product's rule says."""
        rule, report = self.rules[product], self.options.report
        position = self.options.recipe.rules.index(rule)
        report.covered.append(Covered(node.name or "", node.op_type, position))
        for index, value in enumerate(node.inputs):
            if value is None or value.producer() is product or rule.bias is None:
                continue
            node.replace_input_with(index, self.copy(value, rule.bias, Role.BIAS, path))
        self.outputs(node, OPERATORS[node.op_type], rule)

    def inputs(
        self, node: ir.Node, operator: Operator, rule: Rule, path: tuple[ir.Node, ...]
    ) -> None:
        for index, value in enumerate(node.inputs):
            role = self.role(node, operator, index)
            cast = rule.cast(role) if role is not None else None
            if value is None or role is None or cast is None:
                continue
            if role is not Role.BIAS:
                cast = placed(cast, node, index)
            known = self.copy(value, cast, role, path)
            node.replace_input_with(index, known)
            self.kept[node.name or "", value] = known

    def role(self, node: ir.Node, operator: Operator, index: int) -> Role | None:
        role, value = role_of(node, operator, index, self.gradients), node.inputs[index]
        if role is None or value is None:
            return role
        if not is_part(node, self.norms) and not (node.name or "").startswith(SUM_OF):
            return role
        if is_part(value.producer(), self.norms):
            return None
        return Role.BIAS if role is Role.WEIGHT else role

    def copy(
        self, value: ir.Value, cast: AnyCast, role: Role, path: tuple[ir.Node, ...]
    ) -> ir.Value:
        """``value`` rounded, or the same rearrangement of the rounded tensor that it is one of.

        A tensor and its transpose, in the forward pass and in the backward pass, are then rounded
        by one node: stochastically, too, to the same numbers. Not so by a RangeCast or a BlockCast,
        for which it matters what stands in which dimension.
        """
        known = self.rounded.get((value, cast))
        if known is not None:
            return known
        producer = value.producer()
        seen_through = producer and producer.op_type in REARRANGES and not is_loss(producer)
        whole = isinstance(cast, (RangeCast, BlockCast))
        source = producer.inputs[0] if producer and seen_through and not whole else None
        if producer is None or source is None:
            known = self.quantizer.round(value, cast, role, path[-1])
            _place(known, value, path)
        else:
            turned = self.copy(source, cast, role, path)
            known = value if turned is source else self.rearrange(producer, turned, cast, path)
        self.remember(value, cast, known)
        return known

    def rearrange(
        self, node: ir.Node, source: ir.Value, cast: AnyCast, path: tuple[ir.Node, ...]
    ) -> ir.Value:
        """What ``node`` makes of ``source``."""
        copy = ir.node(
            node.op_type,
            [source, *node.inputs[1:]],
            dict(node.attributes),
            domain=node.domain,
            name=self.quantizer.names.fresh(f"{node.name}_{cast.tag}"),
            metadata_props=dict(node.metadata_props),
        )
        (value,), (result,) = node.outputs, copy.outputs
        result.name = self.quantizer.names.fresh(f"{value.name}_{cast.tag}")
        result.type, result.shape = value.type, value.shape
        assert node.graph is not None
        node.graph.insert_before(next(n for n in path if n.graph is node.graph), copy)
        self.rearranged.append((node, copy))
        return result

    def finish_copies(self) -> None:
        """Remove the rearrangements that nothing reads any more; their copies take their names."""
        for node, copy in reversed(self.rearranged):
            value, result = node.outputs[0], copy.outputs[0]
            if node.graph is None or value.uses() or value.is_graph_output():
                reason = "rearranges a rounded tensor"
                self.options.report.skipped.append(Skipped(copy.name or "", copy.op_type, reason))
                continue
            node.graph.remove(node, safe=True)
            copy.name, result.name = node.name, value.name

    def outputs(self, node: ir.Node, operator: Operator, rule: Rule) -> None:
        if rule.outputs is None or phase_of(node) is Phase.WEIGHT_GRADIENT:
            return
        for index, value in enumerate(node.outputs):
            wanted = operator.output_role(index) is Role.OUTPUT and value.name
            if not wanted or value.dtype is not ir.DataType.FLOAT or node.graph is None:
                continue
            rounded = self.quantizer.round_output(value, rule.outputs, Role.OUTPUT, node)
            self.remember(value, rule.outputs, rounded)

    def read_as_forward(self, graph: ir.Graph) -> None:
        """Let gradient nodes compare and select by what their forward nodes were given."""
        backward = [node for node in graph if GRADIENT_OF in (node.name or "")]
        inputs = [
            (node, index, self.kept.get(((node.name or "").partition(GRADIENT_OF)[0], value)))
            for node in backward
            for index, value in enumerate(node.inputs)
            if value is not None and _only_looks_at(node, index)
        ]
        changed = [(node, index, known) for node, index, known in inputs if known is not None]
        for node, index, known in changed:
            node.replace_input_with(index, known)
        if changed:  # some of them stood before what they read now
            graph.sort()

    def remember(self, value: ir.Value, cast: AnyCast, rounded: ir.Value) -> None:
        self.rounded[value, cast] = self.rounded[rounded, cast] = rounded


def _only_looks_at(node: ir.Node, index: int) -> bool:
    """Whether an input is neither rounded for a node nor a part of its result."""
    operator = operator_of(node)
    return operator is None or not (
        operator.carries_input(index) or operator.input_role(index) is not None
    )


def _place(rounded: ir.Value, value: ir.Value, path: tuple[ir.Node, ...]) -> None:
    """Put the rounding node into the graph where ``value`` lives.

    Behind the node that computes it or, for inputs and initializers, before the first reader.
    """
    producer = value.producer()
    if producer is not None and producer.graph is not None:
        producer.graph.insert_after(producer, producer_of(rounded))
        return
    reader = next(node for node in path if node.graph is value.graph)
    assert value.graph is not None
    value.graph.insert_before(reader, producer_of(rounded))

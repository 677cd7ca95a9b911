"""Which rule of the recipe decides a node, or why none does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from onnxbf.custom_ops.quantizers import QUANTIZERS
from onnxbf.graph import (
    OPERATOR_KEY,
    SCALE,
    Phase,
    all_graphs,
    constant_of,
    constant_source,
    is_call,
    is_loss,
    kind_of,
    phase_of,
)
from onnxbf.operators import OPERATORS, Kind, Operator, Role, find_operator
from onnxbf.passes.written_norms import is_part
from onnxbf.recipe import Recipe, Rule

_FLOAT = ir.DataType.FLOAT


@dataclass(frozen=True, slots=True)
class Selection:
    """What the user adds to a recipe: patterns found in node names, and operator types.

    A node is selected where ``include`` is empty or one of its patterns is found, no pattern of
    ``exclude`` is found, and ``op_types`` is empty or names its type or class.
    """

    include: tuple[re.Pattern[str], ...] = ()
    exclude: tuple[re.Pattern[str], ...] = ()
    op_types: tuple[str, ...] = ()

    def refuses(self, node: ir.Node, kind: Kind) -> str | None:
        """Why the node is not selected; None if it is."""
        name = node.name or ""
        if self.include and not any(pattern.search(name) for pattern in self.include):
            return "not named by --include"
        if any(pattern.search(name) for pattern in self.exclude):
            return "named by --exclude"
        if self.op_types and not {node.op_type, kind.value} & {*self.op_types}:
            return "not among --op-types"
        return None

    def unmatched(self, model: ir.Model) -> list[str]:
        """The patterns and operator types that select no node of the model."""
        if self == EVERYTHING:
            return []
        nodes = [node for graph in all_graphs(model) for node in graph]
        names = [node.name or "" for node in nodes]
        types = {node.op_type for node in nodes}
        kinds = {row.kind for node in nodes if (row := find_operator(node.domain, node.op_type))}
        patterns = [("--include", pattern) for pattern in self.include]
        patterns += [("--exclude", pattern) for pattern in self.exclude]
        lost = [
            f"{option} {pattern.pattern!r} matches no node's name."
            for option, pattern in patterns
            if not any(pattern.search(name) for name in names)
        ]
        lost += [
            f"--op-types {op}: the model has no such node."
            for op in self.op_types
            if op not in types and op not in {kind.value for kind in kinds}
        ]
        return lost


EVERYTHING = Selection()


@dataclass(frozen=True, slots=True)
class Decision:
    """What happens around one node: a rule, or the reason why nothing does."""

    operator: Operator | None
    rule: Rule | None = None
    reason: str = ""


def decide(
    model: ir.Model,
    node: ir.Node,
    recipe: Recipe,
    selection: Selection,
    shapes: frozenset[ir.Value],
    norms: frozenset[str] = frozenset(),
) -> Decision:
    """The rule for ``node``.

    Args:
        shapes: the values that shape computation gives.
        norms: the names of nodes that are parts of a normalization.
    """
    operator = operator_of(node)
    if operator is None:
        return Decision(None, reason=_unknown(model, node))
    if operator.kind is Kind.MOVEMENT:
        return Decision(operator, reason="only moves or selects values")
    kind = Kind.NORMALIZATION if is_part(node, norms) else operator.kind
    kind = Kind.LOSS if is_loss(node) else kind
    refused = _not_float32(node, operator) or selection.refuses(node, kind)
    if refused:
        return Decision(operator, reason=refused)
    if shapes and any(output in shapes for output in node.outputs):
        return Decision(operator, reason="computed from shapes alone")
    rule = recipe.match(node.name or "", node.op_type, kind, phase_of(node))
    if rule is None:
        return Decision(operator, reason="no rule of the recipe matches")
    return Decision(operator, rule)


def operator_of(node: ir.Node) -> Operator | None:
    """The row of what a node computes or, where a pass wrote it so, stands for."""
    stands_for = node.metadata_props.get(OPERATOR_KEY)
    if stands_for is None:
        return find_operator(node.domain, node.op_type)
    return OPERATORS.get(stands_for)


def _unknown(model: ir.Model, node: ir.Node) -> str:
    if OPERATOR_KEY in node.metadata_props:
        return "a part of an operator that is rounded as a whole"
    if is_call(model, node):
        return "calls a function, which is rewritten itself"
    return "not arithmetic, or unknown to onnxbf"


def _not_float32(node: ir.Node, operator: Operator) -> str | None:
    types = (
        value.dtype
        for index, value in enumerate(node.inputs)
        if value is not None and operator.input_role(index) is not None
    )
    first = next(types, None)
    if first is None:
        return "element type unknown"
    return None if first is _FLOAT else f"{first.name.lower()} tensors"


Gradients = Mapping[ir.Value, Role]


def role_of(
    node: ir.Node, operator: Operator, index: int, gradients: Gradients | None = None
) -> Role | None:
    """What input ``index`` is to ``node``; None where it is absent, not float32, or not data.

    Args:
        gradients: what ``gradient_values`` gave; None for a forward model.
    """
    value = node.inputs[index]
    role = operator.input_role(index)
    if value is None or role is None or value.dtype is not _FLOAT:
        return None
    if gradients and value in gradients:  # weight gradients add up in float32 until they are whole
        found = gradients[value]
        return None if found is Role.WEIGHT_GRADIENT else found
    if role is not Role.INPUT:
        return role
    constant = constant_source(value)
    if constant is None:
        return Role.INPUT
    return Role.BIAS if _is_split_bias(node, index, constant) else Role.WEIGHT


def _is_split_bias(node: ir.Node, index: int, constant: ir.Value) -> bool:
    """Whether a constant is the bias of a matrix product that was exported as MatMul and Add."""
    if node.op_type != "Add" or constant.shape is None:
        return False
    if any(size != 1 for size in list(constant.shape)[:-1]):
        return False
    producer = _producer(node.inputs[1 - index])
    while producer is not None and producer.op_type in _PASSED:
        producer = _producer(producer.inputs[0])
    row = None if producer is None else find_operator(producer.domain, producer.op_type)
    return row is not None and row.kind is Kind.GEMM


_PASSED = frozenset({*QUANTIZERS, "Reshape"})


def _producer(value: ir.Value | None) -> ir.Node | None:
    return None if value is None else value.producer()


def gradient_values(model: ir.Model) -> Gradients:
    """The values of the backward pass that depend on the gradient of the loss, and their role.

    What the backward pass computes from forward values alone (a transpose of an activation, a
    derivative) is no gradient. A weight gradient begins where a node of that phase computes.
    """
    found: dict[ir.Value, Role] = {}
    for node in model.graph:
        phase = phase_of(node)
        if phase not in (Phase.INPUT_GRADIENT, Phase.WEIGHT_GRADIENT):
            continue
        values = [value for value in node.inputs if value is not None]
        roles = {found.get(v, Role.GRADIENT) for v in values if v in found or _is_seed(v)}
        if not roles:
            continue
        operator = operator_of(node)
        computes = operator is not None and not operator.moves
        whole = phase is Phase.WEIGHT_GRADIENT and (computes or roles == {Role.WEIGHT_GRADIENT})
        role = Role.WEIGHT_GRADIENT if whole else Role.GRADIENT
        found.update((value, role) for value in node.outputs)
    return found


def _is_seed(value: ir.Value) -> bool:
    """Whether the gradient of the loss begins here: an input, or an initializer in other tools."""
    if value.producer() is not None:
        return False
    return kind_of(value) == SCALE or (value.name or "").endswith("_grad")


_SHAPE_SOURCES = frozenset({"Shape", "Size"})


def shape_values(model: ir.Model) -> frozenset[ir.Value]:
    """Values computed from shapes and constants alone: sizes, scales, positions ... not data."""
    found: set[ir.Value] = set()
    for graph in all_graphs(model):
        for node in graph:
            if node.op_type in _SHAPE_SOURCES or _all_shapes(node, found):
                found.update(node.outputs)
    return frozenset(found)


def _all_shapes(node: ir.Node, found: set[ir.Value]) -> bool:
    values = [value for value in node.inputs if value is not None]
    return any(value in found for value in values) and all(
        value in found or constant_of(value) is not None for value in values
    )

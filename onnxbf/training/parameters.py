"""Which initializers of a model are its trainable parameters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxbf.errors import ModelError
from onnxbf.graph import all_graphs, constant_of
from onnxbf.operators import Kind, Role, find_operator
from onnxbf.passes.choose import role_of, shape_values
from onnxbf.recipe import compile_pattern


@dataclass(frozen=True, slots=True)
class Choice:
    """Parameters to train, in the order of the file; others that could be, and why they are not."""

    trained: tuple[str, ...]
    frozen: dict[str, str]


def choose_parameters(
    model: ir.Model,
    *,
    train: str | Sequence[str] = (),
    freeze: str | Sequence[str] = (),
    buffers: Sequence[str] = (),
) -> Choice:
    """The float32 initializers of the main graph that nodes use as weights.

    A file does not say what is a parameter and what a constant. Left out are numbers that stand
    alone (epsilons, scales), unless they are a bias or a weight by their place, and what only takes
    part in computing from shapes (frequencies of positions, masks).

    Args:
        train: regular expressions; what is named by one is trained in any case.
        freeze: regular expressions; what is named by one is not.
        buffers: names of running statistics.

    Raises:
        SpecError: a pattern that is not a regular expression.
        ModelError: nothing is left to train, or a pattern names no initializer.
    """
    wanted, unwanted = _patterns(train), _patterns(freeze)
    names = [name for name, value in model.graph.initializers.items() if _is_float(value)]
    _check_used([*wanted, *unwanted], names)
    shapes = shape_values(model)
    trained, frozen = [], {}
    for name in names:
        reason = _reason(model.graph.initializers[name], shapes)
        if name in buffers:
            reason = "a running statistic"
        elif any(pattern.search(name) for pattern in unwanted):
            reason = "named by --freeze"
        elif any(pattern.search(name) for pattern in wanted):
            reason = ""
        if reason:
            frozen[name] = reason
        else:
            trained.append(name)
    if not trained:
        raise ModelError(_nothing(model, names))
    return Choice(tuple(trained), frozen)


def _patterns(texts: str | Sequence[str]) -> list[re.Pattern[str]]:
    return [compile_pattern(text) for text in ([texts] if isinstance(texts, str) else texts)]


def _check_used(patterns: Sequence[re.Pattern[str]], names: Sequence[str]) -> None:
    for pattern in patterns:
        if not any(pattern.search(name) for name in names):
            raise ModelError(
                f"{pattern.pattern!r} is found in no name of a float32 initializer. There are: "
                f"{', '.join(names) or 'none'}."
            )


def _nothing(model: ir.Model, names: Sequence[str]) -> str:
    inner = sum(
        constant_of(node.outputs[0]) is not None
        for graph in all_graphs(model)
        for node in graph
        if node.op_type == "Constant"
    )
    told = (
        f"its float32 initializers are {', '.join(names)}"
        if names
        else ("it has no float32 initializers")
    )
    hint = (
        f" Its {inner} constants are nodes: export without constant folding, so that parameters "
        "are initializers."
        if inner and not names
        else ""
    )
    return f"The model has no trainable parameters: {told}.{hint}"


def _is_float(value: ir.Value) -> bool:
    return value.const_value is not None and value.const_value.dtype is ir.DataType.FLOAT


def _reason(value: ir.Value, shapes: frozenset[ir.Value]) -> str:
    """Why an initializer is not trained; empty if it is."""
    uses = [(node, index) for node, index in _uses(value) if _reads_numbers(node, index)]
    if not uses:
        return "not read as numbers by any node that computes"
    if all(_is_shape_arithmetic(node, shapes) for node, _ in uses):
        return "only used to compute from shapes"
    assert value.const_value is not None
    if value.const_value.size > 1 or any(_by_place(node, index) for node, index in uses):
        return ""
    return "a number that stands alone"


def _uses(value: ir.Value) -> list[tuple[ir.Node, int]]:
    """The readers of a value, in subgraphs too, seen through nodes that only move it."""
    found: list[tuple[ir.Node, int]] = []
    for node, index in value.uses():
        operator = find_operator(node.domain, node.op_type)
        if operator is not None and operator.moves and len(node.inputs) == 1:
            found += _uses(node.outputs[0])
        else:
            found.append((node, index))
    return found


def _reads_numbers(node: ir.Node, index: int) -> bool:
    operator = find_operator(node.domain, node.op_type)
    if operator is None:
        return True  # a function, or an operator that rewriting knows nothing of
    return operator.input_role(index) is not None or operator.carries_input(index)


def _is_shape_arithmetic(node: ir.Node, shapes: frozenset[ir.Value]) -> bool:
    """Frequencies times positions, not an embedding that positions select from."""
    operator = find_operator(node.domain, node.op_type)
    moves = operator is not None and operator.moves
    return not moves and all(output in shapes for output in node.outputs)


def _by_place(node: ir.Node, index: int) -> bool:
    operator = find_operator(node.domain, node.op_type)
    if operator is None:
        return False
    role = role_of(node, operator, index)
    return role is Role.BIAS or (role is Role.WEIGHT and operator.kind is Kind.GEMM)

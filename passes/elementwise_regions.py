"""Which nodes of a graph one program of elementwise operations can compute together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxbf.custom_ops.elementwise import MOST_TEMPORARIES, OPERANDS, Program, Step
from onnxbf.custom_ops.registry import DOMAIN
from onnxbf.formats import Rounding
from onnxbf.operators import STANDARD_DOMAINS
from onnxbf.passes.observe_roundings import observed_cast
from onnxbf.passes.representable import node_cast

Operand = tuple[str, int]  # ("step", i), ("tensor", i) or, of fewer dimensions, ("other", i)
_Steps = Sequence[tuple[str, tuple[int, ...]]]  # operation and inputs of a node; -1: last result
_Shape = tuple[int | str, ...]

ALL = frozenset(OPERANDS)
# What ONNX Runtime computes to the same bits, signs of zeros included. Its square roots are not all
# exact, and of zeros of both signs its Max may choose the other.
AS_IN_ONNX_RUNTIME = ALL - {"Sqrt", "Max", "Min", "Sign"}

_CLIP: Mapping[int, _Steps] = {
    2: (("Max", (0, 1)),),
    3: (("Max", (0, 1)), ("Min", (-1, 2))),
}


@dataclass(frozen=True, slots=True)
class Form:
    """What a region computes, whatever its tensors are: regions of one form share a program.

    Attributes:
        steps: the operation and the operands of each.
        outputs: the steps whose results are read outside.
        observed: how many of its casts are observed.
    """

    steps: tuple[tuple[str, tuple[Operand, ...]], ...]
    outputs: tuple[int, ...]
    observed: int

    @property
    def casts(self) -> int:
        """How many steps are casts."""
        return sum(operation not in OPERANDS for operation, _ in self.steps)


@dataclass(frozen=True, slots=True)
class Region:
    """Nodes of one shape that hand each other tensors, and what they read and give.

    ``others`` are broadcast: scalars, and tensors of its last dimensions. ``health`` is what its
    casts are observed to do, one after the other.
    """

    stage: int
    nodes: tuple[ir.Node, ...]
    form: Form
    tensors: tuple[ir.Value, ...]
    others: tuple[ir.Value, ...]
    outputs: tuple[ir.Value, ...]
    health: tuple[ir.Value, ...]


def find_regions(graph: ir.Graph, operations: frozenset[str] = ALL) -> list[Region]:
    """The regions of a graph whose nodes stand in an order that runs, and hold no graphs.

    Regions of one stage need nothing of each other, directly or through other nodes.

    Args:
        operations: those that may take part, beside casts.
    """
    stages = _stages(graph, {node for node in graph if _is_fusable(node, operations)})
    region_of: dict[ir.Node, list[ir.Node]] = {}
    for node in stages:
        joined = [node]
        for other in _producers(node):
            if stages.get(other) == stages[node] and region_of[other] is not joined:
                joined = region_of[other] + joined
                region_of.update((each, joined) for each in joined)
        region_of[node] = joined
    order = {node: index for index, node in enumerate(stages)}
    unique = {id(nodes): nodes for nodes in region_of.values()}.values()
    return [_region(stages[nodes[0]], sorted(nodes, key=order.__getitem__)) for nodes in unique]


def fits(region: Region) -> bool:
    """Whether a program has room for what it keeps meanwhile."""
    return program_of(region.form, {}).count("t") <= MOST_TEMPORARIES


def program_of(form: Form, places: Mapping[Operand, str]) -> Program:
    """The steps of a form, each result where no later step needs what it overwrites.

    Args:
        places: of operands; tensors that are not told are inputs in their order.
    """
    last = {operand: i for i, (_, operands) in enumerate(form.steps) for operand in operands}
    written: dict[Operand, str] = {}
    free: list[str] = []
    taken = 0
    steps = []
    for index, (operation, operands) in enumerate(form.steps):
        names = [written.get(o) or places.get(o) or f"x{o[1]}" for o in operands]
        done = {written[o] for o in operands if o in written and last[o] == index}
        free += sorted(name for name in done if name[0] == "t")
        if index in form.outputs:
            result = f"y{form.outputs.index(index)}"
        elif free:
            result = free.pop()
        else:
            result, taken = f"t{taken}", taken + 1
        written["step", index] = result
        steps.append(Step(operation, result, tuple(names)))
    return Program(tuple(steps))


def _stages(graph: ir.Graph, fusable: set[ir.Node]) -> dict[ir.Node, int]:
    """For each node that can be fused, how many times others must have run in between.

    A node whose result is wanted later only, by such nodes, is computed then, not kept until then.
    """
    stages: dict[ir.Node, int] = {}
    for node in graph:
        stages[node] = max(
            (stages[p] + _parts(p, node, fusable) for p in _producers(node)),
            default=0,
        )
    for node in reversed(graph):
        (value, *_) = node.outputs
        users = {user for user, _ in value.uses()}
        if node in fusable and users and users <= fusable and not value.is_graph_output():
            stages[node] = min(stages[user] - _parts(node, user, fusable) for user in users)
    return {node: stage for node, stage in stages.items() if node in fusable}


def _parts(producer: ir.Node, user: ir.Node, fusable: set[ir.Node]) -> bool:
    """Whether a node that can be fused hands its result to one that it is not fused with."""
    if producer not in fusable or user not in fusable:
        return producer in fusable
    return shape_of(producer.outputs[0]) != shape_of(user.outputs[0])


def _producers(node: ir.Node) -> Iterator[ir.Node]:
    for value in node.inputs:
        producer = None if value is None else value.producer()
        if producer is not None:
            yield producer


def _is_fusable(node: ir.Node, operations: frozenset[str]) -> bool:
    """Not scalars: what many tensors share is computed once, before them."""
    is_single = len(node.outputs) == 1 or observed_cast(node) is not None
    shape = shape_of(node.outputs[0]) if is_single else None
    steps = _steps_of(node)
    if not shape or not steps or not all(name in operations or ":" in name for name, _ in steps):
        return False
    shapes = [shape_of(value) for value in node.inputs]
    return shape in shapes and all(
        each is not None and each == shape[len(shape) - len(each) :] for each in shapes
    )


def _steps_of(node: ir.Node) -> _Steps:
    """The steps that compute a node; none where a program cannot."""
    count = len(node.inputs)
    if node.domain == DOMAIN and node.op_type != "ReluGrad":
        cast = node_cast(node) or observed_cast(node)
        is_plain = cast is not None and cast.rounding is not Rounding.STOCHASTIC
        return ((str(cast), (0,)),) if is_plain else ()
    if node.domain not in (*STANDARD_DOMAINS, DOMAIN):
        return ()
    if node.op_type == "Clip":
        return _CLIP.get(count, ())
    if node.op_type == "Sum" and count > 1:
        return (("Add", (0, 1)), *(("Add", (-1, index)) for index in range(2, count)))
    if OPERANDS.get(node.op_type) != count:
        return ()
    return ((node.op_type, tuple(range(count))),)


def shape_of(value: ir.Value | None) -> _Shape | None:
    """The shape of a float32 tensor; None where it is not known, or the tensor of another type.

    Sizes that depend on the batch count as equal where they have the same name.
    """
    if value is None or value.dtype is not ir.DataType.FLOAT or value.shape is None:
        return None
    sizes = [size if isinstance(size, int) else size.value for size in value.shape]
    known = tuple(size for size in sizes if size is not None)
    return known if len(known) == len(sizes) else None


def _region(stage: int, nodes: Sequence[ir.Node]) -> Region:
    results: dict[ir.Value, int] = {}
    tensors: dict[ir.Value, int] = {}
    others: dict[ir.Value, int] = {}
    shape = shape_of(nodes[0].outputs[0])
    steps: list[tuple[str, tuple[Operand, ...]]] = []

    def operand(value: ir.Value) -> Operand:
        if value in results:
            return "step", results[value]
        kind, known = ("tensor", tensors) if shape_of(value) == shape else ("other", others)
        return kind, known.setdefault(value, len(known))

    for node in nodes:
        for operation, inputs in _steps_of(node):
            values = [None if index < 0 else node.inputs[index] for index in inputs]
            last = ("step", len(steps) - 1)
            steps.append((operation, tuple(last if v is None else operand(v) for v in values)))
        results[node.outputs[0]] = len(steps) - 1
    inside = set(nodes)
    outputs = [
        value
        for value in results
        if value.is_graph_output() or not {user for user, _ in value.uses()} <= inside
    ]
    health = tuple(node.outputs[1] for node in nodes if observed_cast(node) is not None)
    form = Form(tuple(steps), tuple(results[value] for value in outputs), len(health))
    return Region(stage, tuple(nodes), form, tuple(tensors), tuple(others), tuple(outputs), health)

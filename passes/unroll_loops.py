"""Write out the steps of loops that do not depend on data, and the branches of conditions.

ONNX Runtime differentiates no control flow, and a recipe rounds every step of what is written out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxbf.builder import Builder
from onnxbf.graph import REFUSAL_KEY, Names, replace_node
from onnxbf.passes.base import GraphPass
from onnxbf.passes.both_branches import why_not_both
from onnxbf.passes.known_values import KnownValues

MOST_STEPS, MOST_NODES = 512, 100_000
CONTROL = frozenset({"If", "Loop", "Scan"})
_OR = "or give an input that decides it a constant (--input)."
_HELP = {
    "If": f"Export the model without branches that depend on data, {_OR}",
    "Loop": f"Export the model with a fixed number of steps, {MOST_STEPS} at most, {_OR}",
    "Scan": f"Export the model with fixed sizes and {MOST_STEPS} steps at most.",
}


@dataclass(frozen=True)
class UnrollLoops(GraphPass):
    """Replace If, Loop and Scan nodes of the main graph; shapes have to be inferred before.

    Where a condition depends on data, both branches are computed, if that does no harm, and a Where
    takes one result.

    Their bodies may hold no initializers (see LiftInitializers). A node that cannot be written out
    stays, and says why in its metadata: a loss may not depend on it.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        names, known = Names(model), KnownValues(model.opset_imports.get("", 1))
        pending = deque(node for node in model.graph if _is_control(node))
        modified = False
        while pending:
            node = pending.popleft()
            unrolling = _UNROLLINGS[node.op_type](node, names, known)
            reason = unrolling.run()
            if reason:
                node.metadata_props[REFUSAL_KEY] = (
                    f"{node.op_type} node {node.name!r} cannot be differentiated: {reason}. "
                    f"{_HELP[node.op_type]}"
                )
                continue
            unrolling.replace()
            self.report.notes.extend(unrolling.notes)
            pending.extendleft(n for n in unrolling.b.nodes if _is_control(n) and n.graph)
            modified = True
        return ir.passes.PassResult(model, modified=modified)


def _is_control(node: ir.Node) -> bool:
    return node.op_type in CONTROL and not node.domain


class _Unrolling:
    """One node being written out; ``results`` are what its outputs become.

    Attributes:
        notes: what the user should know.
    """

    def __init__(self, node: ir.Node, names: Names, known: KnownValues) -> None:
        self.node, self.names, self.known = node, names, known
        self.b = Builder(names, node.name or node.op_type)
        self.results: list[ir.Value] = []
        self.notes: list[str] = []

    def run(self) -> str:
        """Write the node out; why that cannot be, or an empty text."""
        raise NotImplementedError

    def body(self, name: str) -> ir.Graph:
        return self.node.attributes[name].as_graph()

    def instance(self, body: ir.Graph, inputs: Sequence[ir.Value], part: str) -> list[ir.Value]:
        """What one run of a body gives; its nodes are appended under names of their own."""
        copy = body.clone(allow_outer_scope_values=True)
        given = dict(zip(copy.inputs, inputs))
        outputs = [*copy.outputs]
        copy.outputs.clear()
        for inner, outer in given.items():
            inner.replace_all_uses_with(outer)
        nodes = [*copy]
        copy.remove(nodes)
        for node in nodes:
            node.name = self.names.fresh(f"{self.node.name}/{part}/{node.name}")
            for value in node.outputs:
                if value.name:
                    value.name = self.names.fresh(f"{self.node.name}/{part}/{value.name}")
        self.b.nodes.extend(nodes)
        return [given.get(value, value) for value in outputs]

    def stacked(self, values: Sequence[ir.Value], axis: int) -> ir.Value:
        """One value of each step along a new axis."""
        b = self.b
        parts = [b.Unsqueeze(value, b.integers(axis)) for value in values]
        whole: ir.Value = b.Concat(*parts, axis=axis)
        return whole

    def replace(self) -> None:
        ours = {value for node in self.b.nodes for value in node.outputs}
        results: list[ir.Value] = []
        for value in self.results:  # each output has a value of its own to take its name
            results.append(
                value if value in ours and value not in results else self.b.Identity(value)
            )
        replace_node(self.node, self.b.nodes, results)


class _If(_Unrolling):
    def run(self) -> str:
        condition = self.known.of(self.node.inputs[0])
        if condition is None:
            return self.both()
        name = "then_branch" if condition.all() else "else_branch"
        self.results = self.instance(self.body(name), [], name)
        return ""

    def both(self) -> str:
        """Compute both branches, and take the result of one."""
        reason = why_not_both(self.node)
        if reason:
            return f"which branch it takes depends on data, and {reason}"
        b, names = self.b, ("then_branch", "else_branch")
        scalar = b.Reshape(self.node.inputs[0], b.integers())  # a condition may be of one element
        branches = (self.instance(self.body(name), [], name) for name in names)
        self.results = [b.Where(scalar, *pair) for pair in zip(*branches, strict=True)]
        self.notes = [
            f"Both branches of If node {self.node.name!r} are computed, and the result of one is "
            "taken: which one depends on data."
        ]
        return ""


class _Loop(_Unrolling):
    def run(self) -> str:
        limit, going = (self.known.of(value) for value in self.node.inputs[:2])
        if self.node.inputs[0] is not None and limit is None:
            return "its number of steps depends on data"
        if self.node.inputs[1] is not None and going is None:
            return "whether it begins depends on data"
        body, states = self.body("body"), [v for v in self.node.inputs[2:] if v is not None]
        most = None if limit is None else int(limit.reshape(-1)[0])
        rows: list[list[ir.Value]] = []
        while (most is None or len(rows) < most) and (going is None or going.all()):
            reason = _too_long(body, len(rows) + 1 if most is None else most)
            if reason:
                return reason
            index = self.b.constant(len(rows), ir.DataType.INT64)
            inputs = [index, self.b.constant(True, ir.DataType.BOOL), *states]
            condition, *made = self.instance(body, inputs, f"step_{len(rows)}")
            states, row = made[: len(states)], made[len(states) :]
            rows.append(row)
            going = self.known.of(condition)
            if going is None:
                return "when it ends depends on data"
        if not rows and len(body.outputs) > 1 + len(states):
            return "it makes no step"
        self.results = [*states, *(self.stacked(column, 0) for column in zip(*rows))]
        return ""


class _Scan(_Unrolling):
    def run(self) -> str:
        body, count = self.body("body"), self.node.attributes["num_scan_inputs"].as_int()
        given = [value for value in self.node.inputs if value is not None]
        states, scanned = given[:-count], given[-count:]
        axes = self.integers("scan_input_axes", count)
        sizes = [None if v.shape is None else v.shape[axis] for v, axis in zip(scanned, axes)]
        length = next((size for size in sizes if isinstance(size, int)), None)
        if length is None:
            return "its number of steps is not fixed"
        reason = _too_long(body, length) if length else "it makes no step"
        if reason:
            return reason
        backward = self.integers("scan_input_directions", count)
        parts = [
            [*self.steps(value, axis, length)][:: -1 if back else 1]
            for value, axis, back in zip(scanned, axes, backward)
        ]
        rows: list[list[ir.Value]] = []
        for step, row in enumerate(zip(*parts)):
            made = self.instance(body, [*states, *row], f"step_{step}")
            states = made[: len(states)]
            rows.append(made[len(states) :])
        self.results = [*states, *self.columns(rows)]
        return ""

    def steps(self, value: ir.Value, axis: int, length: int) -> Iterator[ir.Value]:
        """The parts of a scanned input."""
        b, parts = self.b, [value]
        if length > 1:
            parts = b.Split(value, b.integers(*[1] * length), axis=axis, outputs=length)
        yield from (b.Squeeze(part, b.integers(axis)) for part in parts)

    def columns(self, rows: Sequence[Sequence[ir.Value]]) -> Iterator[ir.Value]:
        """The scan outputs."""
        count = len(rows[0])
        axes = self.integers("scan_output_axes", count)
        backward = self.integers("scan_output_directions", count)
        for column, axis, back in zip(zip(*rows), axes, backward):
            yield self.stacked(column[:: -1 if back else 1], axis)

    def integers(self, name: str, count: int) -> list[int]:
        return [*self.node.attributes.get_ints(name, [0] * count)]


_UNROLLINGS: dict[str, type[_Unrolling]] = {"If": _If, "Loop": _Loop, "Scan": _Scan}


def _too_long(body: ir.Graph, steps: int) -> str:
    if steps > MOST_STEPS:
        return f"it makes more than {MOST_STEPS} steps"
    if steps * len(body) > MOST_NODES:
        return f"its {steps} steps are more than {MOST_NODES} nodes"
    return ""

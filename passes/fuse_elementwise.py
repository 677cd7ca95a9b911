"""Run elementwise arithmetic on many tensors in one pass over memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from onnxbf.custom_ops.elementwise import MOST_TEMPORARIES, Program, Step
from onnxbf.custom_ops.registry import DOMAIN, VERSION
from onnxbf.graph import PHASE_KEY, Names, phase_of, subgraphs_of, take_place
from onnxbf.passes.base import GraphPass
from onnxbf.passes.elementwise_regions import Form, Operand, Region, find_regions

FUSED = "Elementwise"


@dataclass(frozen=True)
class FuseElementwise(GraphPass):
    """Replace float32 elementwise nodes by nodes Elementwise, which compute the same bits.

    Nodes that hand each other tensors of one shape become one program, and all tensors that go
    through the same program share a node: an update graph of hundreds of nodes becomes one node, or
    two where a norm stands between. Shapes must be known; scalars stay as they are, but take part
    as operands. Inputs and outputs of the model keep their names.

    Square roots are exact then, which those of ONNX Runtime 1.19 are not.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        ShapeInferencePass(check_type=False, strict_mode=False, data_prop=False)(model)
        graph, names = model.graph, Names(model)
        if any(True for node in graph for _ in subgraphs_of(node)):
            return ir.passes.PassResult(model, modified=False)
        merged: dict[tuple[int, Form], list[Region]] = {}
        for region in find_regions(graph):
            merged.setdefault((region.stage, region.form), []).append(region)
        found = [regions for regions in merged.values() if _pays(regions)]
        # The last ones first: what they read is there still, and is then replaced in their inputs.
        for regions in sorted(found, key=lambda regions: -regions[0].stage):
            _replace(graph, regions, names)
        if found:
            graph.sort()
            model.opset_imports[DOMAIN] = VERSION
        return ir.passes.PassResult(model, modified=bool(found))


def _pays(regions: Sequence[Region]) -> bool:
    """More than one node becomes one, which has room for what it keeps meanwhile."""
    program = _program(regions[0].form, {})
    return len(regions) * len(regions[0].nodes) > 1 and program.count("t") <= MOST_TEMPORARIES


def _replace(graph: ir.Graph, regions: Sequence[Region], names: Names) -> None:
    first = regions[0]
    shared = [i for i, value in enumerate(first.scalars) if _all_read(regions, i, value)]
    own = [i for i in range(len(first.scalars)) if i not in shared]
    places: dict[Operand, str] = {("scalar", i): f"s{place}" for place, i in enumerate(shared)}
    for place, i in enumerate(own, start=len(first.tensors)):
        places["scalar", i] = f"x{place}"
    groups = [[*region.tensors, *(region.scalars[i] for i in own)] for region in regions]
    node = ir.node(
        FUSED,
        [*(first.scalars[i] for i in shared), *(value for group in groups for value in group)],
        {"program": str(_program(first.form, places))},
        domain=DOMAIN,
        num_outputs=len(regions) * len(first.outputs),
        name=names.fresh(f"{graph.name}/{FUSED}"),
        metadata_props={PHASE_KEY: phase_of(first.nodes[0]).value},
    )
    graph.append(node)
    old = [value for region in regions for value in region.outputs]
    for new, value in zip(node.outputs, old, strict=True):
        take_place(new, value)
    graph.remove([each for region in regions for each in region.nodes], safe=True)


def _all_read(regions: Sequence[Region], index: int, value: ir.Value) -> bool:
    return all(region.scalars[index] is value for region in regions)


def _program(form: Form, places: dict[Operand, str]) -> Program:
    """The steps of a form, each result where no later step needs what it overwrites."""
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

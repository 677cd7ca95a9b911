"""Run elementwise arithmetic on many tensors in one pass over memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from onnxbf.custom_ops.observation import ROUNDING_FIELDS
from onnxbf.custom_ops.registry import DOMAIN, PROGRAM, VERSION
from onnxbf.graph import PHASE_KEY, Names, phase_of, subgraphs_of, take_place
from onnxbf.passes.base import GraphPass
from onnxbf.passes.elementwise_regions import (
    AS_IN_ONNX_RUNTIME,
    Form,
    Operand,
    Region,
    find_regions,
    fits,
    program_of,
)

FUSED, FUSED_OBSERVED = "Elementwise", "ElementwiseObserved"


@dataclass(frozen=True)
class FuseElementwise(GraphPass):
    """Replace float32 elementwise nodes by nodes Elementwise, which compute the same bits.

    Nodes that hand each other tensors of one shape become one program, and all tensors that go
    through the same program share a node: an update graph of hundreds of nodes becomes one node, or
    two where a norm stands between. Shapes must be known; scalars stay as they are, but take part
    as operands. Inputs and outputs of the model keep their names.

    Roundings that are observed are observed there, and tell the same.

    Square roots are exact then, which those of ONNX Runtime 1.19 are not.

    Args:
        around_casts: fuse what stands next to a rounding alone, and only what ONNX Runtime computes
            to the same bits, as in a gradient graph.
    """

    around_casts: bool = False

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graph, names = model.graph, Names(model)
        if any(True for node in graph for _ in subgraphs_of(node)):
            return ir.passes.PassResult(model, modified=False)
        found = _around_casts(graph) if self.around_casts else _alike(model)
        # The last ones first: what they read is there still, and is then replaced in their inputs.
        for regions in sorted(found, key=lambda regions: -regions[0].stage):
            _replace(graph, regions, names)
        if found:
            graph.sort()
            model.opset_imports[DOMAIN] = VERSION
        return ir.passes.PassResult(model, modified=bool(found))


_Groups = list[Sequence[Region]]


def _alike(model: ir.Model) -> _Groups:
    """All regions, in groups of one form."""
    ShapeInferencePass(check_type=False, strict_mode=False, data_prop=False)(model)
    groups = _by_form(find_regions(model.graph))
    return [regions for regions in groups if len(regions) * len(regions[0].nodes) > 1]


def _around_casts(graph: ir.Graph) -> _Groups:
    """Regions that round, each for itself: it runs when its inputs are still in the cache.

    But parameters, which are rounded in no other place, are rounded all at once.
    """
    let_gradients_read_results(graph)
    regions = [region for region in find_regions(graph, AS_IN_ONNX_RUNTIME) if _rounds(region.form)]
    several: _Groups = [(region,) for region in regions if len(region.nodes) > 1 and fits(region)]
    alone = [region for region in regions if len(region.nodes) == 1]
    inputs = [region for region in alone if region.tensors[0].is_graph_input()]
    return several + [group for group in _by_form(inputs) if len(group) > 1]


def _rounds(form: Form) -> bool:
    """Whether it has casts, all of which are observed, or none."""
    return form.casts > 0 and form.observed in (0, form.casts)


def let_gradients_read_results(graph: ir.Graph) -> None:
    """Have a ReluGrad that reads what its Relu reads take the result: above 0 where that is.

    What Relu reads need not be kept then.
    """
    for node in graph:
        value = node.inputs[0] if node.op_type == "Relu" and not node.domain else None
        readers = () if value is None else tuple(value.uses())
        for reader, index in readers:
            if reader.op_type == "ReluGrad" and index == 1:
                reader.replace_input_with(index, node.outputs[0])


def _by_form(regions: Sequence[Region]) -> _Groups:
    groups: dict[tuple[int, Form], list[Region]] = {}
    for region in regions:
        groups.setdefault((region.stage, region.form), []).append(region)
    return [group for group in groups.values() if fits(group[0])]


def _replace(graph: ir.Graph, regions: Sequence[Region], names: Names) -> None:
    first = regions[0]
    shared = [i for i, value in enumerate(first.others) if _is_shared(regions, i, value)]
    own = [i for i in range(len(first.others)) if i not in shared]
    places: dict[Operand, str] = {("other", i): f"s{place}" for place, i in enumerate(shared)}
    for place, i in enumerate(own, start=len(first.tensors)):
        places["other", i] = f"x{place}"
    groups = [[*region.tensors, *(region.others[i] for i in own)] for region in regions]
    health = [value for region in regions for value in region.health]
    node = ir.node(
        FUSED_OBSERVED if health else FUSED,
        [*(value for group in groups for value in group), *(first.others[i] for i in shared)],
        {PROGRAM: str(program_of(first.form, places))},
        domain=DOMAIN,
        num_outputs=len(regions) * len(first.outputs) + bool(health),
        name=names.fresh(f"{first.nodes[-1].name}/{FUSED}"),
        metadata_props={PHASE_KEY: phase_of(first.nodes[0]).value},
    )
    graph.append(node)
    old = [value for region in regions for value in region.outputs]
    for new, value in zip(node.outputs[bool(health) :], old, strict=True):
        take_place(new, value)
    if health:
        _hand_out(graph, node, health, names)
    graph.remove([each for region in regions for each in region.nodes], safe=True)


def _hand_out(graph: ir.Graph, node: ir.Node, health: Sequence[ir.Value], names: Names) -> None:
    """Let what was told of each rounding, of which the first output holds all, take its place."""
    told: Sequence[ir.Value] = node.outputs[:1]
    if len(health) > 1:
        sizes = ir.Value(name=names.fresh(f"{node.name}/sizes"))
        sizes.const_value = ir.tensor([len(ROUNDING_FIELDS)] * len(health), name=sizes.name)
        graph.register_initializer(sizes)
        told[0].name = names.fresh(f"{node.name}/health")
        split = ir.node(
            "Split",
            [told[0], sizes],
            num_outputs=len(health),
            name=names.fresh(f"{node.name}/Split"),
            metadata_props=dict(node.metadata_props),
        )
        graph.append(split)
        told = split.outputs
    for new, value in zip(told, health, strict=True):
        take_place(new, value)


def _is_shared(regions: Sequence[Region], index: int, value: ir.Value) -> bool:
    is_scalar = value.shape is not None and len(value.shape) == 0
    return is_scalar and all(region.others[index] is value for region in regions)

"""Round the gradients of weights, as a recipe says, once all their parts are added up."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxbf.casts import AnyCast
from onnxbf.graph import (
    GRADIENT,
    REARRANGES_OR_PARTS,
    ROLE_KEY,
    Names,
    Phase,
    is_parameter,
    phase_of,
)
from onnxbf.operators import Role
from onnxbf.passes.base import GraphPass
from onnxbf.passes.choose import EVERYTHING, Selection, decide
from onnxbf.passes.quantizer import Quantizer
from onnxbf.recipe import Recipe

_LOOKUPS = frozenset({"Gather", "GatherElements", "GatherND"})


@dataclass(frozen=True)
class RoundWeightGradients(GraphPass):
    """Round what the optimizer is given for each weight; it runs after InsertQuantize.

    A weight is a parameter whose values are rounded as one, or looked up. Gradients of biases and
    norm parameters stay in float32.
    """

    recipe: Recipe
    selection: Selection = EVERYTHING
    seed: int = 0

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        weights = [v for v in model.graph.inputs if is_parameter(v) and _is_weight(v)]
        if not weights or all(rule.weight_gradients is None for rule in self.recipe.rules):
            return ir.passes.PassResult(model, modified=False)
        values = {value.name: value for node in model.graph for value in node.outputs}
        quantizer = Quantizer(model, Names(model), self.report, self.seed)
        found = False
        for weight in weights:
            value = values.get(f"{weight.name}{GRADIENT}") or values.get(f"{weight.name}_grad")
            node = None if value is None else value.producer()
            if value is None or node is None:
                continue
            cast = self.cast(model, node)
            if cast is not None:
                quantizer.round_output(value, cast, Role.WEIGHT_GRADIENT, node)
                found = True
        return ir.passes.PassResult(model, modified=found)

    def cast(self, model: ir.Model, node: ir.Node) -> AnyCast | None:
        """That of the rule which decides the node or, where it only moves or adds, those before."""
        rule = decide(model, node, self.recipe, self.selection, frozenset()).rule
        if rule is not None or phase_of(node) is not Phase.WEIGHT_GRADIENT:
            return None if rule is None else rule.weight_gradients
        before = (value.producer() for value in node.inputs if value is not None)
        casts = (self.cast(model, each) for each in before if each is not None)
        return next((cast for cast in casts if cast is not None), None)


def _is_weight(value: ir.Value) -> bool:
    for reader, _ in value.uses():
        if reader.op_type in _LOOKUPS or reader.metadata_props.get(ROLE_KEY) == Role.WEIGHT.value:
            return True
        if reader.op_type in REARRANGES_OR_PARTS and any(map(_is_weight, reader.outputs)):
            return True
    return False

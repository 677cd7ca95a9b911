"""Draw dropout's masks from a counter instead of a generator that remembers.

ONNX Runtime's Dropout has a state of its own: a run that is resumed, or a second one beside it,
drops other elements. Here a mask depends on (seed, node, step, element) alone. A number that lies
a share q of the way from 0 to the next number of a format rounds up with probability q when it is
rounded stochastically, so the kernel of stochastic rounding is all that it takes.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from onnxbf.builder import Builder
from onnxbf.custom_ops.attributes import cast_attributes
from onnxbf.custom_ops.registry import DOMAIN, VERSION
from onnxbf.formats import FLOAT4_E2M1, Cast, Rounding
from onnxbf.graph import Names, constant_of, phase_of, replace_node, step_input
from onnxbf.passes.base import GraphPass

_STEP = FLOAT4_E2M1.smallest_subnormal
_DRAW = Cast(FLOAT4_E2M1, Rounding.STOCHASTIC)


@dataclass(frozen=True)
class CounterDropout(GraphPass):
    """Replace each Dropout of a gradient graph that is in training mode, and its gradient.

    Args:
        seed: one mask for each seed, node and step.
    """

    seed: int = 0

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        names = Names(model)
        found = [node for node in model.graph if node.op_type == "Dropout" and _is_training(node)]
        replaced = [node for node in found if self.replace(model, node, names)]
        if replaced:
            model.opset_imports[DOMAIN] = VERSION
        return ir.passes.PassResult(model, modified=bool(replaced))

    def replace(self, model: ir.Model, node: ir.Node, names: Names) -> bool:
        ratio, step, x = _number(node, 1, 0.5), step_input(model), node.inputs[0]
        if ratio is None or step is None or x is None:
            self.report.warnings.append(
                f"Dropout node {node.name!r} has a ratio that is computed: its masks come from "
                "ONNX Runtime's own generator, and a resumed run draws others."
            )
            return False
        b = Builder(names, f"{node.name}/mask", phase=phase_of(node))
        share = b.Expand(b.constant((1 - ratio) * _STEP), b.Shape(x))
        key = zlib.crc32((node.name or "").encode())
        attributes: dict[str, Any] = {**cast_attributes(_DRAW, seed=self.seed, node=key)}
        drawn = b.node("QuantizeDequantize", [share, step], domain=DOMAIN, **attributes)
        factors = b.Mul(drawn, b.constant(0.0 if ratio == 1 else 1 / ((1 - ratio) * _STEP)))
        results = [b.Mul(x, factors)]
        for reader in [reader for reader, _ in node.outputs[1].uses()]:
            if reader.op_type == "DropoutGrad":
                backward = Builder(names, reader.name or "DropoutGrad", phase=phase_of(reader))
                gradient = backward.Mul(reader.inputs[0], factors)
                replace_node(reader, backward.nodes, [gradient])
        if node.outputs[1].uses():
            results.append(b.Cast(drawn, to=int(ir.DataType.BOOL)))
        replace_node(node, b.nodes, results)
        return True


def _is_training(node: ir.Node) -> bool:
    return bool(_number(node, 2, 0.0)) and len(node.outputs) > 1


def _number(node: ir.Node, index: int, default: float) -> float | None:
    """A scalar input that is constant; None where it is computed."""
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None:
        return default
    constant = constant_of(value)
    return None if constant is None else float(constant.numpy())

"""The update graph: parameters, gradients and slots in, their next values out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxbf.training.emitter import GRADIENT_NORM, Emitter, Parameter, Slot
from onnxbf.training.optimizers import OPTIMIZERS, Optimizer
from onnxbf.training.options import build
from onnxbf.training.weight_update import WeightUpdate, parse_weight_update

__all__ = ["Parameter", "Slot", "UpdateGraph", "make_update"]


@dataclass(frozen=True, slots=True)
class UpdateGraph:
    """One optimizer's update of given parameters, and the slots that it keeps, in order."""

    model: ir.Model
    slots: tuple[Slot, ...]
    notes: tuple[str, ...] = ()


def make_update(
    parameters: Sequence[Parameter],
    optimizer: Optimizer | str,
    weight_update: WeightUpdate | str = "fp32_master",
) -> UpdateGraph:
    """The update graph of ``parameters``: plain ONNX of opset 20.

    Its inputs are ``<parameter>``, ``<parameter>.gradient`` and ``<parameter>.<slot>``, all of them
    float32, and the scalars ``learning_rate`` (float32), ``step`` (int64, 0 for the first update;
    those that were skipped do not count) and ``gradient_scale`` (float32), by which gradients are
    multiplied before all else.

    Its outputs are ``<parameter>.next``, ``<parameter>.<slot>.next`` and ``gradient_norm``: the
    Euclidean norm of all scaled gradients together, before any clipping. It is not finite where a
    gradient is not, or where the sum of squares overflows float32; what the other outputs hold is
    then of no use.

    Args:
        parameters: what is trained, in the order that inputs and outputs get.
        optimizer: an optimizer, or text such as ``sgd{momentum=0.9}``.
        weight_update: how weights are kept, or text such as ``kahan`` (see weight_update.py); with
            any but ``fp32_master`` the graph has nodes of ``ai.onnxbf`` that round.

    Raises:
        NameUnknown: an optimizer or an option that does not exist.
        SpecError: text that cannot be read, or an option that is out of range.
        ModelError: no parameters, names that collide, or an exclusion that excludes nothing.
    """
    chosen = build(optimizer, OPTIMIZERS, "optimizer") if isinstance(optimizer, str) else optimizer
    rule = parse_weight_update(weight_update) if isinstance(weight_update, str) else weight_update
    emitter = Emitter(parameters, rule)
    updates = emitter.updates
    norm = emitter.global_norm(updates)
    for transform in chosen.chain():
        updates = transform(emitter, updates)
    for update in updates:
        emitter.descend(update)
    emitter.result(norm, GRADIENT_NORM, ir.Shape(()))
    return UpdateGraph(emitter.finish(), tuple(emitter.slots), tuple(emitter.notes))

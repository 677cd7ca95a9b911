"""Bring an exported model into the form that can be differentiated and trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from onnxbf.errors import UnsupportedError
from onnxbf.passes.base import GraphPass
from onnxbf.passes.canonicalize import Canonicalize
from onnxbf.passes.explicit_padding import ExplicitPadding
from onnxbf.passes.fit_gradients import FitGradients
from onnxbf.passes.infer_types import InferTypes
from onnxbf.passes.remove_dropout import RemoveDropout
from onnxbf.passes.tie_weights import TieWeights
from onnxbf.passes.train_batch_norm import TrainBatchNorm
from onnxbf.passes.unroll_recurrent import UnrollRecurrent
from onnxbf.passes.untie_constants import UntieConstants
from onnxbf.protos import from_proto, to_proto
from onnxbf.report import Report

OLDEST_OPSET = 13  # since which axes of reductions are inputs, as new nodes have them
NEWEST_OPSET, NEWEST_IR_VERSION = 21, 10  # that ONNX Runtime 1.19, the last to train, accepts


@dataclass(frozen=True, slots=True)
class Prepared:
    """A model in training form; what it computes for a batch is what training computes."""

    model: ir.Model
    buffers: tuple[str, ...]
    notes: tuple[str, ...]


def prepare(model: ir.Model, *, training: bool = True) -> Prepared:
    """A copy of ``model`` in training form.

    Args:
        training: whether it computes as in training, or as in evaluation: by running statistics.
            Its initializers have the same names in both.

    Raises:
        UnsupportedError: an opset that is too new for training and cannot be converted down.
    """
    model = _accepted(model.clone())
    report = Report("none")
    batch_norm = TrainBatchNorm(report)
    passes: list[GraphPass] = [
        Canonicalize(report),
        InferTypes(report),
        UntieConstants(report),
        TieWeights(report),
        ExplicitPadding(report),
        UnrollRecurrent(report),
        *([batch_norm, FitGradients(report)] if training else [RemoveDropout(report)]),
    ]
    ShapeInferencePass()(model)
    for graph_pass in passes:
        graph_pass(model)
    notes: Sequence[str] = [*report.notes, *report.warnings]
    return Prepared(model, tuple(batch_norm.buffers), tuple(notes))


def _accepted(model: ir.Model) -> ir.Model:
    """The model, converted to an opset that can be trained where its own cannot."""
    opset = model.opset_imports.get("", 1)
    wanted = min(max(opset, OLDEST_OPSET), NEWEST_OPSET)
    if wanted != opset:
        model = _converted(model, wanted)
    model.ir_version = min(model.ir_version, NEWEST_IR_VERSION)
    return model


def _converted(model: ir.Model, wanted: int) -> ir.Model:
    opset = model.opset_imports.get("", 1)
    try:
        return from_proto(onnx.version_converter.convert_version(to_proto(model), wanted))
    except Exception as error:  # the converter's errors share no base but this
        raise UnsupportedError(
            f"The model has opset {opset}; training takes {OLDEST_OPSET} to {NEWEST_OPSET}, and "
            f"converting it to {wanted} fails ({str(error).strip().splitlines()[0]}). Export it "
            f"for {wanted}."
        ) from None

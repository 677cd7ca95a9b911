"""Bring an exported model into the form that can be differentiated and trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx
import onnx.inliner
import onnx.version_converter
import onnx_ir as ir
from onnx_ir.passes.common import RemoveInitializersFromInputsPass, ShapeInferencePass

from onnxbf.errors import UnsupportedError
from onnxbf.passes.base import GraphPass
from onnxbf.passes.canonicalize import Canonicalize
from onnxbf.passes.expand_ungraded import ExpandUngraded
from onnxbf.passes.expansions_normalization import adopt_domains
from onnxbf.passes.explicit_padding import ExplicitPadding
from onnxbf.passes.find_folded import FindFolded
from onnxbf.passes.fit_gradients import FitGradients
from onnxbf.passes.fix_inputs import FixInputs, parse_inputs
from onnxbf.passes.infer_types import InferTypes
from onnxbf.passes.inline_functions import InlineFunctions
from onnxbf.passes.lift_initializers import LiftInitializers
from onnxbf.passes.narrow_doubles import NarrowDoubles
from onnxbf.passes.remove_dropout import RemoveDropout
from onnxbf.passes.tie_weights import Tie, TieWeights
from onnxbf.passes.train_batch_norm import TrainBatchNorm
from onnxbf.passes.train_recurrent import TrainRecurrent
from onnxbf.passes.unmap_outputs import UnmapOutputs
from onnxbf.passes.unroll_loops import UnrollLoops
from onnxbf.passes.unroll_recurrent import UnrollRecurrent
from onnxbf.passes.untie_constants import Copy, UntieConstants
from onnxbf.passes.use_running_statistics import UseRunningStatistics
from onnxbf.passes.widen_vectors import WidenVectors
from onnxbf.protos import from_proto, to_proto
from onnxbf.report import Report

OLDEST_OPSET = 13  # since which axes of reductions are inputs, as new nodes have them
# Operators that are expanded as ONNX itself defines them.
BY_DEFINITION = frozenset({"Attention", "NegativeLogLikelihoodLoss", "RotaryEmbedding"})
NO_LONGER_INPUTS = 4  # the first IR version in which initializers may be no inputs
NEWEST_OPSET, NEWEST_IR_VERSION = 21, 10  # that ONNX Runtime 1.19, the last to train, accepts


@dataclass(frozen=True, slots=True)
class Prepared:
    """A model in training form; what it computes for a batch is what training computes.

    Attributes:
        buffers: the names of running statistics.
        origins: where its initializers stand in the model that it was made of.
    """

    model: ir.Model
    buffers: tuple[str, ...]
    notes: tuple[str, ...]
    origins: Origins


@dataclass(frozen=True, slots=True)
class Origins:
    """Initializers that are not what they were called before; the others have kept their names.

    Attributes:
        lifted: the constants of functions, see ``function_constants``.
        copies: those that several nodes read.
        ties: those that are no more.
    """

    lifted: Mapping[str, str]
    copies: Sequence[Copy]
    ties: Sequence[Tie]


def prepare(
    model: ir.Model,
    *,
    training: bool = True,
    unroll: bool = True,
    inputs: Sequence[str] = (),
) -> Prepared:
    """A copy of ``model`` in training form.

    Args:
        training: whether it computes as in training, or as in evaluation: by running statistics.
            Its initializers have the same names in both.
        unroll: whether recurrent nodes become the products and gates of each step, so that every
            step is rounded; or stay whole, and a recipe rounds around them.
        inputs: ``name=value`` of inputs that are constants, see ``FixInputs``.

    Raises:
        SpecError, NameUnknown: ``inputs`` that the model has not.
        UnsupportedError: an opset that is too new for training and cannot be converted down, or a
            node that has no gradient in the form it has.
    """
    model = model.clone()
    if model.ir_version < NO_LONGER_INPUTS:  # since then, initializers need not be inputs
        model.ir_version = NO_LONGER_INPUTS
    RemoveInitializersFromInputsPass()(model)
    report = Report("none")
    inline, untie, tie = InlineFunctions(report), UntieConstants(report), TieWeights(report)
    _run(
        model,
        Canonicalize(report),
        NarrowDoubles(report),
        FixInputs(report, parse_inputs(inputs)),
        FindFolded(report),
        inline,
        UnmapOutputs(report),
        UseRunningStatistics(report),
    )
    model = with_opset(model, max(model.opset_imports.get("", 1), OLDEST_OPSET))
    model = inline_operators(model)
    _infer(model)
    _run(model, LiftInitializers(report), untie)
    for writing_out in (UnrollLoops(report), *([UnrollRecurrent(report)] if unroll else [])):
        if writing_out(model).modified:
            _infer(model)
    _run(model, WidenVectors(report), ExpandUngraded(report))
    model = with_opset(model, min(model.opset_imports.get("", 1), NEWEST_OPSET))
    model.ir_version = min(model.ir_version, NEWEST_IR_VERSION)
    adopt_domains(model)
    batch_norm = TrainBatchNorm(report)
    _infer(model)
    _run(
        model,
        tie,
        ExplicitPadding(report),
        RemoveDropout(report, idle=training),
        *([batch_norm, TrainRecurrent(report), FitGradients(report)] if training else []),
    )
    notes: Sequence[str] = [*report.notes, *report.warnings]
    origins = Origins(inline.lifted, untie.copies, tie.ties)
    return Prepared(model, tuple(batch_norm.buffers), tuple(notes), origins)


def _infer(model: ir.Model) -> None:
    """Name all nodes, and work out shapes and types."""
    ShapeInferencePass()(model)
    _run(model, Canonicalize(Report("none")), InferTypes(Report("none")))


def _run(model: ir.Model, *passes: GraphPass) -> None:
    for graph_pass in passes:
        graph_pass(model)


def inline_operators(model: ir.Model) -> ir.Model:
    """The model with those operators written out whose definition is a function that can be."""
    found = {node.op_type for node in model.graph if not node.domain} & BY_DEFINITION
    if not found:
        return model
    operators = [("", name) for name in sorted(found)]
    return from_proto(
        onnx.inliner.inline_selected_functions(
            to_proto(model), operators, inline_schema_functions=True
        )
    )


def with_opset(model: ir.Model, wanted: int) -> ir.Model:
    """The model in another opset; the same object where it has that one."""
    opset = model.opset_imports.get("", 1)
    if wanted == opset:
        return model
    try:
        return from_proto(onnx.version_converter.convert_version(to_proto(model), wanted))
    except Exception as error:  # the converter's errors share no base but this
        raise UnsupportedError(
            f"The model has opset {opset}; training takes {OLDEST_OPSET} to {NEWEST_OPSET}, and "
            f"converting it to {wanted} fails ({str(error).strip().splitlines()[0]}). Export it "
            f"for {wanted}."
        ) from None

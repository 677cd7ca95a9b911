"""Append a loss to a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxbf.builder import Builder
from onnxbf.errors import ModelError, NameUnknown
from onnxbf.graph import LABEL, LOSS_PREFIX, Names, mark_kind
from onnxbf.training.loss_functions import (
    L1,
    Adversarial,
    BceWithLogits,
    CrossEntropy,
    Huber,
    InfoNce,
    Loss,
    Mse,
)
from onnxbf.training.options import build


@dataclass(frozen=True, kw_only=True)
class Output:
    """The model's own scalar output.

    Args:
        name: which output; it may be left out where there is one alone.
    """

    name: str = ""


LOSSES: Mapping[str, Callable[..., Loss | Output]] = {
    "adversarial": Adversarial,
    "bce-with-logits": BceWithLogits,
    "cross-entropy": CrossEntropy,
    "huber": Huber,
    "info-nce": InfoNce,
    "l1": L1,
    "mse": Mse,
    "output": Output,
}

# Losses that are of logits: where a model ends in this operator, they take what it is given.
_ENDINGS: Mapping[type[Loss], Sequence[str]] = {
    CrossEntropy: ("Softmax", "LogSoftmax"),
    BceWithLogits: ("Sigmoid",),
}


@dataclass(frozen=True, slots=True)
class Attached:
    """The names of what a loss added and reads, and what the user should know."""

    loss: str
    labels: tuple[str, ...]
    predictions: tuple[str, ...]
    notes: tuple[str, ...] = ()


def attach_loss(
    model: ir.Model, loss: str | Loss | Output, *, outputs: Sequence[str] | None = None
) -> Attached:
    """Add the nodes of a loss, its labels as an input, and its value as an output.

    Args:
        model: changed in place; its outputs stay.
        loss: text such as ``cross-entropy{label_smoothing=0.1}``.
        outputs: the model's outputs that the loss is of; by default the only one, or those that are
            float32 if there are as many as it needs.

    Raises:
        NameUnknown, SpecError: the loss, an option of it, or an output.
        ModelError: outputs that do not fit.
    """
    chosen = build(loss, LOSSES, "loss") if isinstance(loss, str) else loss
    if isinstance(chosen, Output):
        return _own(model, chosen)
    predictions = _predictions(model, chosen, outputs)
    read, notes = [], []
    for value in predictions:
        source, note = _before_ending(value, chosen)
        read.append(source)
        notes += note
    names = Names(model)
    labels = _labels(model, chosen, read[0], names)
    builder = Builder(names, LOSS_PREFIX.rstrip("/"))
    result = chosen.emit(builder, read, labels)
    result.name = names.fresh("loss")
    result.type, result.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(())
    model.graph.extend(builder.nodes)
    model.graph.outputs.append(result)
    return Attached(
        result.name,
        () if labels is None else (labels.name or "",),
        tuple(value.name or "" for value in predictions),
        tuple(notes),
    )


def _own(model: ir.Model, loss: Output) -> Attached:
    own = [value.name or "" for value in model.graph.outputs if not _is_next(value)]
    name = loss.name or _only(own)
    value = _output(model, name)
    _check_float(value)
    if value.shape is not None and any(size != 1 for size in value.shape):
        raise ModelError(f"Output {name!r} is no loss: it has shape {value.shape}, not one number.")
    return Attached(name, (), ())


def _only(names: Sequence[str]) -> str:
    if len(names) != 1:
        raise ModelError(
            f"The model has {len(names)} outputs: name the loss, output{{name=...}}, out of "
            f"{', '.join(names)}."
        )
    return names[0]


def _output(model: ir.Model, name: str) -> ir.Value:
    found = {value.name or "": value for value in model.graph.outputs}
    if name not in found:
        raise NameUnknown("output", name, found)
    return found[name]


def _predictions(model: ir.Model, loss: Loss, outputs: Sequence[str] | None) -> list[ir.Value]:
    if outputs is not None:
        chosen = [_output(model, name) for name in outputs]
    else:
        chosen = [
            value
            for value in model.graph.outputs
            if value.dtype is ir.DataType.FLOAT and not _is_next(value)
        ]
    if len(chosen) != loss.arity:
        names = ", ".join(value.name or "" for value in chosen) or "none"
        raise ModelError(
            f"The loss is of {loss.arity} float32 outputs of the model, but there are "
            f"{len(chosen)}: {names}. Choose with the option for outputs."
        )
    for value in chosen:
        _check_float(value)
    return chosen


def _check_float(value: ir.Value) -> None:
    """ModelError for an output that is known to be something else than a float32 tensor."""
    kind = value.type
    if kind is None or kind == ir.TensorType(ir.DataType.FLOAT):
        return
    found = kind.dtype.name.lower() if isinstance(kind, ir.TensorType) else "no tensor"
    raise ModelError(
        f"Output {value.name!r} is {found}, and a loss is of float32 tensors: choose another "
        "output, or export the model in float32."
    )


def _is_next(value: ir.Value) -> bool:
    """Whether an output is the next value of a running statistic."""
    return (value.name or "").endswith(".next")


def _before_ending(value: ir.Value, loss: Loss) -> tuple[ir.Value, list[str]]:
    """The logits behind a final Softmax or Sigmoid, and a note of it."""
    node = value.producer()
    endings = _ENDINGS.get(type(loss), ())
    while node is not None and node.op_type == "Identity":
        source = node.inputs[0]
        node = None if source is None else source.producer()
    if node is None or node.op_type not in endings or node.inputs[0] is None:
        return value, []
    logits = node.inputs[0]
    logits.shape = logits.shape or value.shape
    return logits, [f"The loss is of the logits before {node.op_type} node {node.name!r}."]


def _labels(model: ir.Model, loss: Loss, output: ir.Value, names: Names) -> ir.Value | None:
    if loss.label_type is None:
        return None
    labels = ir.Value(
        name=names.fresh("labels"),
        type=ir.TensorType(loss.label_type),
        shape=loss.label_shape(output),
    )
    mark_kind(labels, LABEL)
    model.graph.inputs.append(labels)
    return labels

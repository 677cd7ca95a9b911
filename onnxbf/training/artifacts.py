"""The files that ONNX Runtime's own training API takes: three models and a checkpoint.

Its Module tells inputs apart by name: parameters and statistics are those that the checkpoint
holds, ``<parameter>_grad.accumulation.buffer`` is where a gradient is added up in place, and
``lazy_reset_grad`` says whether to begin anew; all else is the batch. Source:
onnxruntime/training/onnxblock/_training_graph_utils.py and orttraining/training_api/module.cc of
ONNX Runtime 1.19.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from onnxbf.files import filling_folder, save_model
from onnxbf.graph import (
    BUFFER,
    GRADIENT,
    NEXT,
    PARAMETER,
    PHASE_KEY,
    SCALE,
    Names,
    Phase,
    kind_of,
    mark_kind,
)
from onnxbf.training.gradients import training_binding
from onnxbf.training.graphs import TrainingGraphs
from onnxbf.training.ort_optimizer import ORT_DOMAIN

Array = NDArray[Any]

TRAINING, EVALUATION, OPTIMIZER = "training_model.onnx", "eval_model.onnx", "optimizer_model.onnx"
CHECKPOINT = "checkpoint"

_SUM = "_grad.accumulation.buffer"
_DONE = "_grad.accumulation.out"  # outputs that end so are not given to the user
_RESET = "lazy_reset_grad"
_FLAG = ir.TensorType(ir.DataType.BOOL)


@dataclass(frozen=True, slots=True)
class Artifacts:
    """What ``save_artifacts`` writes.

    Attributes:
        training: batch, parameters, statistics, sums of gradients in; loss and predictions out.
        evaluation: batch, parameters, statistics in; loss and predictions out.
        optimizer: see ``make_ort_optimizer``.
        trained: the initial value of every parameter, by name.
        statistics: the initial value of every running statistic; Module changes them in place.
        inputs: the names of the batch, in the order in which Module takes it.
        outputs: the names of what Module gives, the loss first.
    """

    training: ir.Model
    evaluation: ir.Model
    optimizer: ir.Model
    trained: dict[str, Array]
    statistics: dict[str, Array]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def make_artifacts(graphs: TrainingGraphs, optimizer: ir.Model) -> Artifacts:
    """Bring the graphs of training into the form of ONNX Runtime's training API.

    The gradients of several training steps add up until ``lazy_reset_grad``. The loss is not
    scaled.

    Args:
        graphs: as they are to run, ``under`` a recipe already; not changed.
        optimizer: see ``make_ort_optimizer``.
    """
    training, evaluation = graphs.gradient.clone(), graphs.evaluation.clone()
    _unscale(training.graph)
    _take_buffers(evaluation.graph, training.graph)
    for model in (training, evaluation):
        _order_inputs(model.graph)
        _order_outputs(model.graph, graphs.attached.loss)
    outputs = tuple(value.name or "" for value in evaluation.graph.outputs)
    kinds = {value.name or "": kind_of(value) for value in training.graph.inputs}
    _accumulate(training)
    return Artifacts(
        training,
        evaluation,
        optimizer,
        {name: graphs.state[name] for name, kind in kinds.items() if kind == PARAMETER},
        {name: graphs.state[name] for name, kind in kinds.items() if kind == BUFFER},
        tuple(name for name, kind in kinds.items() if kind not in (PARAMETER, BUFFER)),
        outputs,
    )


def save_artifacts(artifacts: Artifacts, folder: str | Path, *, force: bool = False) -> None:
    """Write ``training_model.onnx``, ``eval_model.onnx``, ``optimizer_model.onnx``, ``checkpoint``.

    A reader sees all of them or, where an earlier ``checkpoint`` was to be replaced, none.

    Args:
        force: whether files in ``folder`` may be replaced.

    Raises:
        ModelError: ``folder`` cannot be made.
        UnsupportedError: it holds files already, and ``force`` is not set.
        RuntimeMissing: the installed ONNX Runtime has no training.
    """
    binding = training_binding()
    with filling_folder(folder, last=CHECKPOINT, force=force) as temporary:
        save_model(artifacts.training, temporary / TRAINING)
        save_model(artifacts.evaluation, temporary / EVALUATION)
        save_model(artifacts.optimizer, temporary / OPTIMIZER)
        tensors = (_serialized(artifacts.trained), _serialized(artifacts.statistics))
        binding.save_checkpoint(*tensors, str(temporary / CHECKPOINT), False)


def _serialized(arrays: Mapping[str, Array]) -> list[bytes]:
    return [
        onnx.numpy_helper.from_array(array, name).SerializeToString()
        for name, array in arrays.items()
    ]


def _unscale(graph: ir.Graph) -> None:
    """Give the gradient of the loss its value, 1, for good."""
    scale = next(value for value in graph.inputs if kind_of(value) == SCALE)
    graph.inputs.remove(scale)
    scale.metadata_props.clear()
    scale.const_value = ir.tensor(np.ones((), np.float32), name=scale.name)
    graph.register_initializer(scale)


def _take_buffers(evaluation: ir.Graph, training: ir.Graph) -> None:
    """Make every buffer an input of the evaluation, in one order: Module hands all of them to both.

    Delayed scaling of gradients, for one, is not part of an evaluation.
    """
    known = {value.name: value for value in evaluation.inputs if kind_of(value) == BUFFER}
    evaluation.inputs[:] = [value for value in evaluation.inputs if value.name not in known]
    for value in training.inputs:
        if kind_of(value) == BUFFER:
            unread = ir.Value(name=value.name, type=value.type, shape=value.shape)
            mark_kind(unread, BUFFER)
            evaluation.inputs.append(known.get(value.name, unread))


def _order_inputs(graph: ir.Graph) -> None:
    """The batch first, then the parameters, then the statistics: in all models the same."""
    places = {PARAMETER: 1, BUFFER: 2}
    graph.inputs[:] = sorted(graph.inputs, key=lambda value: places.get(kind_of(value) or "", 0))


def _order_outputs(graph: ir.Graph, loss: str) -> None:
    """The loss first; neither gradients nor next statistics."""
    kept = [value for value in graph.outputs if not (value.name or "").endswith((GRADIENT, NEXT))]
    graph.outputs[:] = sorted(kept, key=lambda value: value.name != loss)


def _accumulate(training: ir.Model) -> None:
    """Add every gradient to its sum, and write every next statistic over the present one."""
    graph, names = training.graph, Names(training)
    computed = {value.name: value for node in graph for value in node.outputs}
    always = ir.Value(name=names.fresh("always"), type=_FLAG, shape=ir.Shape([1]))
    always.const_value = ir.tensor(np.ones(1, np.bool_), name=always.name)
    reset = ir.Value(name=_RESET, type=_FLAG, shape=ir.Shape([1]))
    inputs: Sequence[ir.Value] = tuple(graph.inputs)
    for value in inputs:
        if kind_of(value) == PARAMETER:
            buffer = ir.Value(name=f"{value.name}{_SUM}", type=value.type, shape=value.shape)
            graph.inputs.append(buffer)
            _place(graph, names, buffer, computed[f"{value.name}{GRADIENT}"], reset)
        if kind_of(value) == BUFFER:
            _place(graph, names, value, computed[f"{value.name}{NEXT}"], always)
    if any(always is value for node in graph for value in node.inputs):
        graph.register_initializer(always)
    graph.inputs.append(reset)
    training.opset_imports.setdefault(ORT_DOMAIN, 1)


def _place(
    graph: ir.Graph, names: Names, kept: ir.Value, given: ir.Value, overwrite: ir.Value
) -> None:
    """Add ``given`` to what ``kept`` holds, in its memory, or write it over that."""
    name = (kept.name or "").removesuffix(_SUM)
    node = ir.node(
        "InPlaceAccumulatorV2",
        [kept, given, overwrite],
        domain=ORT_DOMAIN,
        name=names.fresh(f"{name}/accumulate"),
        metadata_props={PHASE_KEY: Phase.WEIGHT_GRADIENT.value},
    )
    (done,) = node.outputs
    done.name, done.type, done.shape = f"{name}{_DONE}", _FLAG, ir.Shape([1])
    graph.append(node)
    graph.outputs.append(done)

"""Run a network that is being trained on data that it is not trained on, or look into it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxbf.protos import to_proto
from onnxbf.session import make_session, run
from onnxbf.training.graphs import TrainingGraphs

Array = NDArray[Any]
Batch = Mapping[str, Array]


class Evaluation:
    """The network as it is used after training: running statistics, no dropout."""

    def __init__(self, graphs: TrainingGraphs, threads: int | None = None) -> None:
        self._attached = graphs.attached
        model = to_proto(graphs.evaluation).SerializeToString()
        self._session = make_session(model, threads=threads)
        self._inputs = {value.name for value in self._session.get_inputs()}

    def run(self, batch: Batch, state: Batch) -> tuple[float, list[Array]]:
        """The loss and the predictions."""
        feeds = {name: array for name, array in {**state, **batch}.items() if name in self._inputs}
        if "step" in self._inputs:
            feeds["step"] = np.zeros((), np.int64)
        found = run(self._session, feeds)
        predictions = [found[name] for name in self._attached.predictions]
        return float(found[self._attached.loss]), predictions


def first_not_finite(graphs: TrainingGraphs, batch: Batch, state: Batch) -> str | None:
    """The first node of the gradient graph that makes infinities or NaN of finite numbers.

    Returns:
        Its name and type; None where every number is finite.
    """
    found = all_values(graphs, batch, state)
    for node in graphs.gradient.graph:
        if not all(np.all(np.isfinite(found.get(value.name or "", 0))) for value in node.outputs):
            return f"{node.op_type} node {node.name!r}"
    return None


def all_values(graphs: TrainingGraphs, batch: Batch, state: Batch) -> dict[str, Array]:
    """Every float32 tensor of the gradient graph, its inputs among them, by name."""
    model = graphs.gradient.clone()
    values = [value for node in model.graph for value in node.outputs if _is_float(value)]
    graph_outputs = {*model.graph.outputs}
    model.graph.outputs.extend(value for value in values if value not in graph_outputs)
    session = make_session(to_proto(model).SerializeToString(), optimize=False)
    feeds = {name: np.ones((), np.float32) for name in ("loss_scale",)} | {**state, **batch}
    inputs = {value.name for value in session.get_inputs()}
    if "step" in inputs:
        feeds["step"] = np.zeros((), np.int64)
    return {**feeds, **run(session, {name: a for name, a in feeds.items() if name in inputs})}


def _is_float(value: ir.Value) -> bool:
    return bool(value.name) and value.dtype is ir.DataType.FLOAT

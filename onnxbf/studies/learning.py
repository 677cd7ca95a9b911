"""Train a network of a study and see what it has learned."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxbf.recipe import load_recipe
from onnxbf.studies.task import LABELS, Task, digits
from onnxbf.training.class_metrics import Accuracy
from onnxbf.training.graphs import TrainingGraphs, build_graphs
from onnxbf.training.lane import VALIDATION_LOSS, Lane
from onnxbf.training.loss_scale import LossScale
from onnxbf.training.metrics import Metric
from onnxbf.training.schedule import Schedule
from onnxbf.training.trainer import Trainer
from onnxbf.training.transitions import Cosine

Array = NDArray[Any]
BATCH = 32
PART = 4096  # examples that are evaluated at once


@dataclass(frozen=True, slots=True)
class Learned:
    """What training came to.

    Attributes:
        history: the scores on the test data after each epoch, and the mean ``loss`` of its steps.
        training_loss: of the network at the end, over all training data.
        trainer: as it stands at the end.
    """

    history: Sequence[Mapping[str, float]]
    training_loss: float
    trainer: Trainer

    @property
    def last(self) -> Mapping[str, float]:
        return self.history[-1]

    @property
    def row(self) -> Mapping[str, float]:
        """What studies on digits report: ``accuracy`` on the test data, and ``training_loss``."""
        return {"accuracy": self.last["accuracy"], "training_loss": self.training_loss}


@dataclass(frozen=True, slots=True)
class Plan:
    """Training by Adam, at a rate that falls along a cosine to 0."""

    epochs: int
    rate: float
    batch: int = BATCH


def learn(
    graphs: TrainingGraphs,
    task: Task,
    schedule: Schedule,
    epochs: int,
    metrics: Mapping[str, type[Metric]],
    *,
    recipe: str = "none",
    seed: int = 0,
    loss_scale: float = 1.0,
    batch: int = BATCH,
) -> Learned:
    """Train on batches, the last and incomplete one of an epoch left out.

    Args:
        metrics: what is measured after each epoch, by the column's name.
        batch: examples in each.
        seed: of the examples' order and of stochastic rounding.
    """
    under = graphs.under(load_recipe(recipe), seed=seed)
    trainer = Trainer(under, loss_scale=LossScale(loss_scale), threads=1, stop_on_nan=False)
    lane = Lane(recipe, trainer, schedule, epochs)
    rng = np.random.default_rng(seed)
    labels = graphs.attached.labels[0]
    train, test = (_named(part, labels) for part in (task.training, task.testing))
    for _ in range(epochs):
        for each in _batches(train, rng, batch):
            lane.step([each])
        measured = {name: metric() for name, metric in metrics.items()}
        lane.end_epoch(_parts(test), labels, measured)
    loss = lane.evaluate(_parts(train), labels, {})[VALIDATION_LOSS]
    return Learned(lane.history, loss, trainer)


def learn_digits(
    graphs: TrainingGraphs, schedule: Schedule, epochs: int, *, recipe: str, seed: int
) -> Learned:
    """Train on digits and measure ``accuracy``; see ``learn``."""
    metrics = {"accuracy": Accuracy}
    return learn(graphs, digits(), schedule, epochs, metrics, recipe=recipe, seed=seed)


def scores(
    model: ir.Model,
    loss: str,
    task: Task,
    plan: Plan,
    metrics: Mapping[str, type[Metric]],
    recipe: str,
    seed: int,
) -> Mapping[str, float]:
    """What a model scores on the test data at the end of a plan; see ``Learned.history``."""
    steps = plan.epochs * steps_of(task, plan.batch)
    schedule = Cosine(init_value=plan.rate, decay_steps=steps)
    graphs = build_graphs(model, loss, "adam")
    learned = learn(
        graphs,
        task,
        schedule,
        plan.epochs,
        metrics,
        recipe=recipe,
        seed=seed,
        batch=plan.batch,
    )
    return learned.last


def steps_of(task: Task, batch: int = BATCH) -> int:
    """The steps of an epoch."""
    return len(task.training[LABELS]) // batch


def steps_to(values: Sequence[float], target: float) -> float:
    """How many epochs it took to reach a target from below; infinity where it was not reached."""
    return next((epoch for epoch, value in enumerate(values, 1) if value >= target), math.inf)


def _named(data: Mapping[str, Array], labels: str) -> dict[str, Array]:
    return {labels if name == LABELS else name: array for name, array in data.items()}


def _parts(data: Mapping[str, Array]) -> Iterator[dict[str, Array]]:
    for start in range(0, len(next(iter(data.values()))), PART):
        yield {name: array[start : start + PART] for name, array in data.items()}


def _batches(
    data: Mapping[str, Array], rng: np.random.Generator, size: int
) -> Iterator[dict[str, Array]]:
    count = len(next(iter(data.values())))
    order = rng.permutation(count)
    for start in range(0, count - size + 1, size):
        rows = order[start : start + size]
        yield {name: array[rows] for name, array in data.items()}

"""One of the networks that a run trains in step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxbf.training.metrics import Metric
from onnxbf.training.schedule import Schedule
from onnxbf.training.trainer import Step, Trainer

Array = NDArray[Any]
Batch = Mapping[str, Array]
Scores = dict[str, float]

LOSS, VALIDATION_LOSS = "loss", "validation_loss"


@dataclass
class Lane:
    """A trainer under a name, and what it has shown.

    Attributes:
        history: the scores of every epoch that is over: the mean training loss, the loss on the
            validation data, and the metrics there.
        losses: the sum of the losses of this epoch's steps, and how many those are.
        epochs: how many the history will have in the end.
    """

    name: str
    trainer: Trainer
    schedule: Schedule
    epochs: int
    history: list[Scores] = field(default_factory=list)
    losses: tuple[float, int] = (0.0, 0)

    def step(self, batches: Sequence[Batch]) -> Step:
        """One update, at the rate that the schedule has for it."""
        schedule = self.schedule.after(self.history, self.epochs)
        done = self.trainer.step(batches, schedule(self.trainer.index))
        total, count = self.losses
        self.losses = (total + done.loss, count + 1)
        return done

    def end_epoch(
        self, validation: Iterable[Batch] | None, labels: str | None, metrics: Mapping[str, Metric]
    ) -> Scores:
        """Close the epoch: its scores, which join the history."""
        total, count = self.losses
        scores = {LOSS: total / max(count, 1)}
        if validation is not None:
            scores.update(self.evaluate(validation, labels, metrics))
        self.history.append(scores)
        self.losses = (0.0, 0)
        return scores

    def evaluate(
        self, batches: Iterable[Batch], labels: str | None, metrics: Mapping[str, Metric]
    ) -> Scores:
        """The mean loss over all examples, and the metrics."""
        losses, sizes = [], []
        for batch in batches:
            loss, predictions = self.trainer.evaluate(batch)
            size = batch_size(batch)
            losses.append(loss)
            sizes.append(size)
            for metric in metrics.values():
                metric.update(predictions, batch[labels] if labels else None, loss, size)
        mean = float(np.average(losses, weights=sizes)) if sizes else float("nan")
        return {VALIDATION_LOSS: mean, **{name: m.result() for name, m in metrics.items()}}

    def notes(self) -> dict[str, Any]:
        """What a checkpoint holds besides tensors."""
        return {
            "counters": self.trainer.counters(),
            "history": self.history,
            "losses": self.losses,
        }

    def resume(self, tensors: Batch, notes: Mapping[str, Any]) -> None:
        """Go on where ``notes`` were taken; ModelError for tensors of another network."""
        self.trainer.resume(tensors, notes["counters"])
        self.history = notes["history"]
        total, count = notes["losses"]
        self.losses = (total, count)


def batch_size(batch: Batch) -> int:
    """How many examples a batch has."""
    return len(next(iter(batch.values())))

"""Small networks that learn scikit-learn's handwritten digits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from onnxbf.studies.learning import learn as learn_task
from onnxbf.studies.networks import digits_cnn as cnn
from onnxbf.studies.networks import digits_mlp as mlp
from onnxbf.studies.task import digits
from onnxbf.training.class_metrics import Accuracy
from onnxbf.training.graphs import TrainingGraphs, build_graphs
from onnxbf.training.trainer import Trainer
from onnxbf.training.transitions import Constant

__all__ = ["Outcome", "cnn", "graphs_of", "learn", "mlp"]

Array = NDArray[Any]


def graphs_of(model: ir.Model, optimizer: str) -> TrainingGraphs:
    return build_graphs(model, "cross-entropy", optimizer)


@dataclass(frozen=True)
class Outcome:
    """What training came to: share of test digits told right, mean loss of the last epoch."""

    accuracy: float
    loss: float
    trainer: Trainer

    @property
    def state(self) -> dict[str, Array]:
        return self.trainer.state()


def learn(
    graphs: TrainingGraphs,
    recipe: str,
    rate: float,
    epochs: int,
    *,
    seed: int = 0,
    scale: float = 1.0,
) -> Outcome:
    """Train under a recipe at a constant rate."""
    learned = learn_task(
        graphs,
        digits(),
        Constant(value=rate),
        epochs,
        {"accuracy": Accuracy},
        recipe=recipe,
        seed=seed,
        loss_scale=scale,
    )
    return Outcome(learned.last["accuracy"], learned.last["loss"], learned.trainer)

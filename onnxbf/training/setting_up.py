"""From the settings of a run to what carries it out: graphs, data, metrics, lanes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import onnx_ir as ir

from onnxbf.graph import LABEL, kind_of
from onnxbf.passes.pipeline import make_selection
from onnxbf.recipe import Recipe, load_recipe
from onnxbf.training.batching import Batches
from onnxbf.training.data import check_labels, match_inputs, open_data
from onnxbf.training.examples import Arrays
from onnxbf.training.graphs import build_graphs
from onnxbf.training.lane import LOSS, VALIDATION_LOSS, Array, Batch, Lane
from onnxbf.training.loss_functions import BceWithLogits, CrossEntropy, InfoNce
from onnxbf.training.loss_scale import parse_loss_scale
from onnxbf.training.losses import LOSSES
from onnxbf.training.metrics import Metric, parse_metric
from onnxbf.training.options import build
from onnxbf.training.schedules import parse_schedule
from onnxbf.training.settings import Settings
from onnxbf.training.trained_model import TrainedModel
from onnxbf.training.trainer import Trainer

# What is measured where no metric is named, by the loss.
_USUAL_METRIC: Mapping[type[Any], str] = {
    CrossEntropy: "accuracy",
    BceWithLogits: "auc",
    InfoNce: "retrieval",
}


class SetUp:
    """Everything that settings name, read and checked before anything is trained.

    Attributes:
        names: of the lanes: the recipe's, then its baseline's.
        notes: what the user should know.
        trained: the model to fill with what a lane has learned.
        labels: the name of the labels' input; None for a loss that needs none.
        scores: each score that an epoch ends with, and whether ``higher`` or ``lower`` is better.

    Raises:
        OnnxbfError: whatever reading the settings' texts, model and data raises.
    """

    def __init__(self, settings: Settings, model: ir.Model) -> None:
        self._settings = settings
        self._schedule = parse_schedule(settings.schedule)
        self._loss_scale = parse_loss_scale(settings.loss_scale)
        self._loss = build(settings.loss, LOSSES, "loss")
        recipes = [load_recipe(text) for text in (settings.recipe, settings.against) if text]
        self._recipes = _named_apart(recipes)
        self.names = tuple(self._recipes)
        self._graphs = build_graphs(
            model,
            settings.loss,
            settings.optimizer,
            outputs=settings.outputs or None,
            train=settings.train,
            freeze=settings.freeze,
            unroll=settings.unroll,
            weight_update=settings.weight_update,
            inputs=settings.inputs,
        )
        if settings.layers:
            self._graphs = self._graphs.layerwise(settings.layers)
        graphs = self._graphs
        names = (*graphs.trained, *graphs.buffers)
        self.trained = TrainedModel(model, names, graphs.origins, settings.inputs)
        self._attached = self._graphs.attached
        self.labels = next(iter(self._attached.labels), None)
        inputs = [v for v in self._graphs.gradient.graph.inputs if kind_of(v) in (None, LABEL)]
        self._training = _Source(settings.data, inputs)
        self._validation = _Source(settings.validation, inputs) if settings.validation else None
        self._metric_texts = self._metrics_wanted()
        self._classes = self._count_classes()
        self.batches(settings.seeds[0])
        for source in (self._training, self._validation):
            self._check_all_labels(source)
        self.scores = {LOSS: "lower"}
        if self._validation is not None:
            self.scores |= {VALIDATION_LOSS: "lower"}
            self.scores |= {name: metric.better for name, metric in self.metrics().items()}
        self.notes = (
            *self._graphs.notes,
            *self.trained.notes,
            *self._training.match.notes,
            *(self._validation.match.notes if self._validation else ()),
        )

    def lanes(self, seed: int) -> list[Lane]:
        """Networks at their initial weights, one for each recipe."""
        return [self._lane(name, recipe, seed) for name, recipe in self._recipes.items()]

    def batches(self, seed: int) -> Batches:
        """The training data in the order that a seed gives it."""
        settings = self._settings
        batches = Batches(
            self._training.data,
            settings.batch_size,
            seed=seed,
            shuffle=settings.shuffle,
            drop_last=settings.drop_last,
        )
        self._training.match.check_batches(batches)
        return batches

    def fit(self, batch: Batch) -> Batch:
        """A batch of the training data as the graphs take it; DataError for impossible labels."""
        return self._checked(self._training.match(batch))

    def validation(self) -> Iterator[Batch] | None:
        """The validation data, in its own order."""
        source = self._validation
        if source is None:
            return None
        batches = Batches(source.data, self._settings.batch_size, seed=0, shuffle=False)
        source.match.check_batches(batches)
        return (self._checked(source.match(batch)) for batch in batches.epoch(0))

    def metrics(self) -> dict[str, Metric]:
        """New metrics, each under the text that names it."""
        return {text: parse_metric(text, self._loss) for text in self._metric_texts}

    def _lane(self, name: str, recipe: Recipe, seed: int) -> Lane:
        settings = self._settings
        selection = make_selection(settings.include, settings.exclude, settings.op_types)
        graphs = self._graphs.under(
            recipe, selection=selection, portable=settings.portable, seed=seed
        )
        trainer = Trainer(
            graphs,
            loss_scale=self._loss_scale,
            threads=settings.threads,
            stop_on_nan=settings.stop_on_nan,
            health_every=settings.health_every,
        )
        return Lane(name, trainer, self._schedule, settings.epochs)

    def _metrics_wanted(self) -> tuple[str, ...]:
        settings = self._settings
        if settings.metrics or not settings.validation:
            return settings.metrics
        usual = _USUAL_METRIC.get(type(self._loss))
        return () if usual is None else (usual,)

    def _count_classes(self) -> int:
        """How many classes labels may name; 0 where they are no classes."""
        if not isinstance(self._loss, CrossEntropy):
            return 0
        (name,) = self._attached.predictions
        outputs = self._graphs.evaluation.graph.outputs
        return self._loss.classes(next(value for value in outputs if value.name == name))

    def _checked(self, batch: Batch) -> Batch:
        if self.labels is not None:
            self._check_labels(batch[self.labels])
        return batch

    def _check_all_labels(self, source: _Source | None) -> None:
        """Labels that lie in one array, before anything is trained on the others."""
        if source is not None and self.labels is not None and isinstance(source.data, Arrays):
            self._check_labels(source.data.column(source.match.names[self.labels]))

    def _check_labels(self, labels: Array) -> None:
        if isinstance(self._loss, CrossEntropy):
            check_labels(labels, self._classes, self._loss.ignore_index)


class _Source:
    """Data, and how it fits the inputs of the model."""

    def __init__(self, text: str, inputs: Sequence[ir.Value]) -> None:
        self.data = open_data(text)
        self.match = match_inputs(self.data, inputs)


def _named_apart(recipes: Sequence[Recipe]) -> dict[str, Recipe]:
    """Recipes by name; a second one of the same name is numbered."""
    named: dict[str, Recipe] = {}
    for recipe in recipes:
        name = recipe.name if recipe.name not in named else f"{recipe.name}-2"
        named[name] = recipe
    return named

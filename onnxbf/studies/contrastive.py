"""Study ``contrastive``: two encoders trained end to end come near a stationary point."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxbf.recipe import load_recipe
from onnxbf.studies.chart import Chart
from onnxbf.studies.claim import Claim, Side
from onnxbf.studies.networks import Network
from onnxbf.studies.study import Cell, Effort, Row, Study, means
from onnxbf.training.composition import compose
from onnxbf.training.graphs import TrainingGraphs, build_graphs
from onnxbf.training.retrieval_metric import Retrieval
from onnxbf.training.trainer import Trainer

Array = NDArray[Any]
WIDTHS = (64, 256, 512)
TOWER = 256  # the width at which one tower is trained alone
LAYERS, SIZE, PAIRS, NOISE = 3, 16, 32, 0.1
STEPS, RATE, TEMPERATURE = 800, 128, 0.5
# No loss of n normalized pairs is less: all other pairs at the angle of a simplex's corners.
BOUND = math.log1p((PAIRS - 1) * math.exp(-(1 + 1 / (PAIRS - 1)) / TEMPERATURE))
_HIDDEN = ("first/p[123]", "second/p[123]")
_BOTH, _ONE = "both", "one"


@dataclass(frozen=True, kw_only=True)
class Contrastive(Study):
    """Encoders of three hidden ReLU layers on two views of 32 points, by full gradient descent.

    Weights are Gaussian, hidden layers are trained, at a rate of 128 / width.

    Args:
        recipe: what is rounded, in both encoders, beside float32.
    """

    name: ClassVar[str] = "contrastive"
    source: ClassVar[str] = "Wen 2020, End-to-End Contrastive Learning (arXiv 2002.06979)"
    about: ClassVar[str] = "two encoders, trained end to end, come near a stationary point"
    claims: ClassVar[Sequence[Claim]] = (
        Claim(
            "loss", "widths of 256 and more end near the bound: loss over it", Side.AT_MOST, 1.05
        ),
        Claim("gradient", "least norm of the gradient over the first", Side.AT_MOST, 0.3),
        Claim(
            "movement",
            "wider encoders move less: least factor from one width to the next",
            Side.AT_LEAST,
            1.3,
        ),
        Claim("end-to-end", "loss over that of training one encoder alone", Side.AT_MOST, 0.75),
        Claim("rounded", "relative difference of the loss that rounding makes", Side.AT_MOST, 0.01),
        Claim("retrieval", "share of points whose other view is found", Side.AT_LEAST, 1.0),
    )
    charts: ClassVar[Sequence[Chart]] = (
        Chart("loss", "Loss at the end", "width", "loss", "recipe"),
        Chart(
            "movement", "Movement of weights", "width", "movement", "recipe", line=True, log=True
        ),
    )

    recipe: str = "bf16"

    def cells(self, effort: Effort) -> Sequence[Cell]:
        load_recipe(self.recipe)
        runs = [(w, r, _BOTH) for w in WIDTHS for r in ("none", self.recipe)]
        return [
            Cell(f"width {width} {recipe} {trained} seed {seed}", partial(_train, *run, seed))
            for run in (*runs, (TOWER, "none", _ONE))
            for width, recipe, trained in (run,)
            for seed in range(effort.seeds)
        ]

    def judge(self, rows: Sequence[Row]) -> Mapping[str, float]:
        found = {(r["width"], r["recipe"], r["trained"]): r for r in self.table(rows)}
        both = {key[:2]: row for key, row in found.items() if key[2] == _BOTH}
        loss = {key: float(row["loss"]) for key, row in both.items()}
        moved = [float(both[width, "none"]["movement"]) for width in WIDTHS]
        alone = float(found[TOWER, "none", _ONE]["loss"])
        apart = [abs(loss[width, self.recipe] / loss[width, "none"] - 1) for width in WIDTHS]
        return {
            "loss": max(value for (width, _), value in loss.items() if width != WIDTHS[0]) / BOUND,
            "gradient": max(float(row["gradient"]) for row in both.values()),
            "movement": min(before / after for before, after in itertools.pairwise(moved)),
            "end-to-end": loss[TOWER, "none"] / alone,
            "rounded": float(np.max(apart)),
            "retrieval": min(float(row["retrieval"]) for row in both.values()),
        }

    def table(self, rows: Sequence[Row]) -> Sequence[Row]:
        columns = ("first_loss", "loss", "gradient", "movement", "retrieval")
        return means(rows, ("width", "recipe", "trained"), columns)

    def remarks(self, rows: Sequence[Row]) -> Sequence[str]:
        return [f"No loss of {PAIRS} pairs is below {BOUND:.4f}."]


def _train(width: int, recipe: str, trained: str, seed: int) -> list[Row]:
    graphs = _graphs(width, seed, _HIDDEN if trained == _BOTH else _HIDDEN[:1])
    initial = {name: graphs.state[name].copy() for name in graphs.trained}
    trainer = Trainer(graphs.under(load_recipe(recipe), seed=seed), threads=1, stop_on_nan=False)
    batch = dict(zip(("first/x", "second/x"), _views(seed)))
    steps = [trainer.step([batch], RATE / width) for _ in range(STEPS)]
    final, retrieval = trainer.state(), Retrieval()
    loss, predictions = trainer.evaluate(batch)
    retrieval.update(predictions, None, loss, PAIRS)
    return [
        {
            "width": width,
            "recipe": recipe,
            "trained": trained,
            "seed": seed,
            "first_loss": steps[0].loss,
            "loss": loss,
            "gradient": min(step.norm for step in steps) / steps[0].norm,
            "movement": max(_movement(before, final[n]) for n, before in initial.items()),
            "retrieval": retrieval.result(),
        }
    ]


def _graphs(width: int, seed: int, trained: Sequence[str]) -> TrainingGraphs:
    model = compose(_encoder(width, 2 * seed), _encoder(width, 2 * seed + 1))
    loss = f"info-nce{{temperature={TEMPERATURE}}}"
    hidden = "|".join(trained)
    return build_graphs(model, loss, "sgd", freeze=rf"^(?!({hidden})$)")


def _encoder(width: int, seed: int) -> ir.Model:
    inner = math.sqrt(2 / width)
    net = Network(seed, (SIZE,)).product(SIZE, width, inner).then("Relu")
    for _ in range(LAYERS):
        net.product(width, width, inner).then("Relu")
    return net.product(width, SIZE, math.sqrt(1 / SIZE)).finish(SIZE)


def _views(seed: int) -> list[Array]:
    """Two views, unit vectors, of random points: each point with its own noise."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(PAIRS, SIZE))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    views = (points + NOISE * rng.normal(size=points.shape) / math.sqrt(SIZE) for _ in range(2))
    return [(v / np.linalg.norm(v, axis=1, keepdims=True)).astype(np.float32) for v in views]


def _movement(before: Array, after: Array) -> float:
    """Of a layer, relative, by the largest singular value."""
    return float(np.linalg.norm(after - before, 2) / np.linalg.norm(before, 2))

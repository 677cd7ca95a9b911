"""Study ``sixteen-bit``: training without a 32-bit copy of the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from onnxbf.recipe import load_recipe
from onnxbf.studies.chart import Chart
from onnxbf.studies.claim import Claim, Side
from onnxbf.studies.learning import BATCH, Learned, learn_digits
from onnxbf.studies.least_squares import bound, lanes, problems
from onnxbf.studies.networks import digits_mlp, scalar_model
from onnxbf.studies.study import Cell, Effort, Row, Study, means
from onnxbf.studies.task import LABELS, digits
from onnxbf.training.graphs import TrainingGraphs, build_graphs
from onnxbf.training.health import UpdateHealth
from onnxbf.training.trainer import Trainer
from onnxbf.training.transitions import Constant

Array = NDArray[Any]
PURE = "bf16-pure"
EPOCHS = 60
OPTIMIZERS = {"sgd": ("momentum", 2e-3), "adam": ("adam{beta2=0.997}", 1e-4)}
# What is rounded forward and backward, and how weights are kept, by name.
SETTINGS = {
    "float32": ("none", "fp32_master"),
    "master": ("bf16", "fp32_master"),
    "nearest": (PURE, "nearest"),
    "stochastic": (PURE, "stochastic"),
    "kahan": (PURE, "kahan"),
}
MORE = {name: (PURE, name) for name in ("split_sgd", "mcf_light", "mcf_plus")}
_SQUARES = {
    "float32": ("none", "fp32_master"),
    "update": ("none", "nearest"),
    "forward and backward": (PURE, "fp32_master"),
    "stochastic": (PURE, "stochastic"),
    "kahan": (PURE, "kahan"),
}
_ADDED = ("nearest", "stochastic", "kahan")
_STEPS, _STEP, _ADD_LANES = 1000, 0.001, 2000


@dataclass(frozen=True, kw_only=True)
class SixteenBit(Study):
    """Least squares, a sum of small numbers, a perceptron on digits: by rules of weight update."""

    name: ClassVar[str] = "sixteen-bit"
    source: ClassVar[str] = "Zamirai et al. 2020, Revisiting BFloat16 Training (arXiv 2010.06192)"
    about: ClassVar[str] = "16-bit weights train if updates are rounded stochastically or by Kahan"
    claims: ClassVar[Sequence[Claim]] = (
        Claim("B1 float32", "least squares in float32: distance at the end", Side.AT_MOST, 1e-3),
        Claim("B1 nearest", "updates rounded to nearest: distance", Side.AT_LEAST, 1),
        Claim("B1 bound", "and the least, over what theory leaves", Side.AT_LEAST, 1),
        Claim("B1 forward", "all but updates rounded: over that distance", Side.AT_MOST, 0.25),
        Claim("B1 stochastic", "stochastic updates: over that distance", Side.AT_MOST, 0.7),
        Claim("B1 kahan", "Kahan's updates: over that distance", Side.AT_MOST, 0.35),
        Claim("B2 nearest", "1 + 1000 x 0.001 to nearest: distance from 1", Side.AT_MOST, 0),
        Claim("B2 stochastic", "stochastically: distance of the mean from 2", Side.AT_MOST, 0.01),
        Claim("B2 kahan", "by Kahan's rule: distance from 2", Side.AT_MOST, 0),
        Claim("B3 nearest", "digits: loss of nearest over float32's, the least", Side.AT_LEAST, 5),
        Claim("B3 loss", "stochastic and Kahan: distance of the loss, relative", Side.AT_MOST, 0.2),
        Claim("B3 accuracy", "and of the accuracy, in points", Side.AT_MOST, 1),
    )
    charts: ClassVar[Sequence[Chart]] = (
        Chart("digits", "Training loss", "setting", "training_loss", "optimizer", log=True),
    )
    packages: ClassVar[Sequence[str]] = ("sklearn",)

    def cells(self, effort: Effort) -> Sequence[Cell]:
        settings = SETTINGS if effort.quick else {**SETTINGS, **MORE}
        return (
            *(Cell(f"least squares {name}", partial(_squares, name)) for name in _SQUARES),
            *(Cell(f"1 + 1000 x 0.001 {rule}", partial(_sum, rule)) for rule in _ADDED),
            *(
                Cell(f"{optimizer} {name} seed {seed}", partial(_train, optimizer, name, seed))
                for optimizer in OPTIMIZERS
                for name in settings
                for seed in range(effort.seeds)
            ),
        )

    def judge(self, rows: Sequence[Row]) -> Mapping[str, float]:
        distance = {r["squares"]: float(r["distance"]) for r in rows if "squares" in r}
        (least,) = (
            float(row["least_over_bound"]) for row in rows if row.get("squares") == "update"
        )
        added = {row["added"]: float(row["sum"]) for row in rows if "added" in row}
        found = {(row["optimizer"], row["setting"]): row for row in self.table(rows)}
        nearest = distance["update"]
        losses, points, worse = [], [], []
        for optimizer in OPTIMIZERS:
            loss = {n: float(found[optimizer, n]["training_loss"]) for n in SETTINGS}
            right = {n: float(found[optimizer, n]["accuracy"]) for n in SETTINGS}
            worse.append(loss["nearest"] / loss["float32"])
            for name in ("stochastic", "kahan"):
                losses.append(abs(loss[name] / loss["float32"] - 1))
                points.append(100 * abs(right[name] - right["float32"]))
        return {
            "B1 float32": distance["float32"],
            "B1 nearest": nearest,
            "B1 bound": least,
            "B1 forward": distance["forward and backward"] / nearest,
            "B1 stochastic": distance["stochastic"] / nearest,
            "B1 kahan": distance["kahan"] / nearest,
            "B2 nearest": abs(added["nearest"] - 1),
            "B2 stochastic": abs(added["stochastic"] - 2),
            "B2 kahan": abs(added["kahan"] - 2),
            "B3 nearest": min(worse),
            "B3 loss": max(losses),
            "B3 accuracy": max(points),
        }

    def table(self, rows: Sequence[Row]) -> Sequence[Row]:
        trained = [row for row in rows if "setting" in row]
        columns = ("accuracy", "training_loss", "cancelled")
        return means(trained, ("optimizer", "setting"), columns)

    def remarks(self, rows: Sequence[Row]) -> Sequence[str]:
        return [
            f"Least squares, {row['squares']}: median distance {float(row['distance']):.3g}."
            for row in rows
            if "squares" in row
        ]


def _squares(name: str) -> list[Row]:
    recipe, rule = _SQUARES[name]
    errors = lanes(recipe, rule)
    ratio = errors.least / bound(problems())
    return [{"squares": name, "distance": errors.median, "least_over_bound": float(ratio.min())}]


def _sum(rule: str) -> list[Row]:
    """A weight of 1 that 0.001 is added to a thousand times, in many lanes."""
    ones = np.ones(_ADD_LANES, np.float32)
    model = scalar_model(
        {"x": (1,)}, {"w": ones}, lambda b, v: b.ReduceSum(b.Mul(v["w"], v["x"]), keepdims=0)
    )
    graphs = build_graphs(model, "output", "sgd", weight_update=rule)
    trainer = Trainer(graphs.under(load_recipe("none")), threads=1)
    for _ in range(_STEPS):
        trainer.step([{"x": np.full((1,), -1, np.float32)}], _STEP)
    numbers = trainer.state()["w"]
    return [{"added": rule, "sum": float(numbers.mean(dtype=np.float64)), "lanes": numbers.size}]


def _train(optimizer: str, setting: str, seed: int) -> list[Row]:
    recipe, rule = {**SETTINGS, **MORE}[setting]
    text, rate = OPTIMIZERS[optimizer]
    graphs = build_graphs(digits_mlp(seed), "cross-entropy", text, weight_update=rule)
    learned = learn_digits(graphs, Constant(value=rate), EPOCHS, recipe=recipe, seed=seed)
    return [
        {
            "optimizer": optimizer,
            "setting": setting,
            "seed": seed,
            **learned.row,
            "cancelled": _cancelled(graphs, learned, recipe, rate),
        }
    ]


def _cancelled(graphs: TrainingGraphs, learned: Learned, recipe: str, rate: float) -> float:
    """The share of updates, in one more step, that leave their weight as it is."""
    trainer = Trainer(graphs.under(load_recipe(recipe)), threads=1, health_every=1)
    trainer.resume(learned.trainer.state(), learned.trainer.counters() | {"index": 0})
    batch = {name: array[:BATCH] for name, array in digits().training.items() if name != LABELS}
    batch[graphs.attached.labels[0]] = digits().training[LABELS][:BATCH]
    trainer.step([batch], rate)
    updates = [each for each in trainer.health() if isinstance(each, UpdateHealth)]
    return sum(each.swallowed for each in updates) / sum(each.updated for each in updates)

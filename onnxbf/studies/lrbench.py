"""Study ``lrbench``: learning-rate policies by utility, cost and robustness, rounded and not."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from onnxbf.errors import SpecError
from onnxbf.recipe import load_recipe
from onnxbf.studies.chart import Chart
from onnxbf.studies.claim import Claim, Side
from onnxbf.studies.learning import learn, steps_of, steps_to
from onnxbf.studies.networks import digits_mlp
from onnxbf.studies.published_rates import FORMULAS, PUBLISHED, STEPS
from onnxbf.studies.study import Cell, Effort, Row, Study, means
from onnxbf.studies.task import digits
from onnxbf.training.class_metrics import Accuracy
from onnxbf.training.confidence_metrics import (
    ClassConfidenceDeviation,
    Confidence,
    ConfidenceDeviation,
)
from onnxbf.training.graphs import build_graphs
from onnxbf.training.metric import Metric
from onnxbf.training.schedules import parse_schedule

EPOCHS = 20
_SMALL, _MIDDLE = "FIX{k0=0.001}", "FIX{k0=0.01}"
_CYCLIC = ("TRI", "SIN", "COS")
# Cycles of four epochs of 39 steps end, with the training, at the lowest rate.
POLICIES = (
    _SMALL,
    _MIDDLE,
    "FIX{k0=0.1}",
    "NSTEP{k0=0.1,gamma=0.1,l=[390,585]}",
    "STEP{k0=0.1,gamma=0.5,l=156}",
    "EXP{k0=0.1,gamma=0.995}",
    "INV{k0=0.1,gamma=0.01,p=0.75}",
    "POLY{k0=0.1,p=1.2,l=780}",
    "TRI{k0=0.001,k1=0.1,l=78}",
    "TRI2{k0=0.001,k1=0.2,l=78}",
    "TRIEXP{k0=0.001,k1=0.15,l=78,gamma=0.998}",
    "SIN{k0=0.001,k1=0.1,l=78}",
    "SIN2{k0=0.001,k1=0.2,l=78}",
    "SINEXP{k0=0.001,k1=0.15,l=78,gamma=0.998}",
    "COS{k0=0.001,k1=0.1,l=156}",
)
_METRICS: Mapping[str, type[Metric]] = {
    "accuracy": Accuracy,
    "confidence": Confidence,
    "confidence_deviation": ConfidenceDeviation,
    "class_deviation": ClassConfidenceDeviation,
}
_SHOWN = ("accuracy", "cost", "robustness", *[*_METRICS][1:], "training_loss")

# Three classes, the softmax of whose predictions is known: rows of probabilities, and labels.
_TABLE = ((0.8, 0.1, 0.1), (0.6, 0.3, 0.1), (0.1, 0.5, 0.4), (0.2, 0.2, 0.6), (0.3, 0.3, 0.4))
_TRUTH = (0, 0, 1, 1, 0)
_BY_HAND = {
    "accuracy": 3 / 5,
    "confidence": (0.8 + 0.6 + 0.5) / 3,
    "confidence_deviation": math.sqrt((0.8**2 + 0.6**2 + 0.5**2) / 3 - (1.9 / 3) ** 2),
    "class_deviation": math.sqrt((0.7**2 + 0.5**2) / 3 - (1.2 / 3) ** 2),
}


@dataclass(frozen=True, kw_only=True)
class LrBench(Study):
    """A multilayer perceptron on digits, 20 epochs of momentum SGD under every policy.

    Args:
        recipe: what is rounded, beside float32.
        policies: more policies to rank, in brackets.
        target: a test accuracy; which policies reach it, and after how many epochs, is told.
    """

    name: ClassVar[str] = "lrbench"
    source: ClassVar[str] = "Wu et al. 2019, Demystifying Learning Rate Policies (arXiv 1908.06477)"
    about: ClassVar[str] = "ranks learning-rate policies by utility, cost and robustness"
    claims: ClassVar[Sequence[Claim]] = (
        Claim("D1", "policies follow their formulas: relative error", Side.AT_MOST, 1e-6),
        Claim("D1 printed", "and the printed table: absolute error", Side.AT_MOST, 5.1e-7),
        Claim("D2", "a policy is a function of the step alone: rates that differ", Side.AT_MOST, 0),
        Claim(
            "D3 cyclic",
            "a cyclic policy learns more: training loss of the best over that of FIX 0.01",
            Side.AT_MOST,
            0.2,
        ),
        Claim(
            "D3 small",
            "FIX 0.001 is too small: points of accuracy below the best policy",
            Side.AT_LEAST,
            1.5,
        ),
        Claim(
            "D3 rounded",
            "rounding changes no policy: the largest difference in points of accuracy",
            Side.AT_MOST,
            1.0,
        ),
        Claim("D4", "metrics agree with a table done by hand: error", Side.AT_MOST, 1e-6),
    )
    charts: ClassVar[Sequence[Chart]] = (
        Chart("accuracy", "Test accuracy by policy", "policy", "accuracy", "recipe"),
        Chart("loss", "Training loss by policy", "policy", "training_loss", "recipe", log=True),
    )
    packages: ClassVar[Sequence[str]] = ("sklearn",)

    recipe: str = "bf16"
    policies: tuple[str, ...] = ()
    target: float | None = None

    def cells(self, effort: Effort) -> Sequence[Cell]:
        load_recipe(self.recipe)
        if self.target is not None and not 0 < self.target < 1:
            raise SpecError(f"Option target must be between 0 and 1, not {self.target}.")
        for policy in self.policies:
            parse_schedule(policy)
        trained = [
            Cell(f"{policy} {recipe} seed {seed}", partial(_train, policy, recipe, seed))
            for policy in (*POLICIES, *self.policies)
            for recipe in ("none", self.recipe)
            for seed in range(effort.seeds)
        ]
        return (
            Cell("policies by formula", _check_policies),
            Cell("metrics", _check_metrics),
            *trained,
        )

    def judge(self, rows: Sequence[Row]) -> Mapping[str, float]:
        checks = {str(r["check"]): float(r["value"]) for r in rows if "check" in r}
        mean = {(str(r["policy"]), str(r["recipe"])): r for r in self.table(rows)}
        plain = {policy: row for (policy, recipe), row in mean.items() if recipe == "none"}
        accuracy = {policy: float(row["accuracy"]) for policy, row in plain.items()}
        loss = {policy: float(row["training_loss"]) for policy, row in plain.items()}
        rounded = (float(mean[policy, self.recipe]["accuracy"]) for policy in plain)
        apart = [100 * abs(a - b) for a, b in zip(accuracy.values(), rounded)]
        best = min(loss[policy] for policy in POLICIES if policy.startswith(_CYCLIC))
        return {
            **checks,
            "D3 cyclic": best / loss[_MIDDLE],
            "D3 small": 100 * (max(accuracy[p] for p in POLICIES) - accuracy[_SMALL]),
            "D3 rounded": float(np.max(apart)),
        }

    def table(self, rows: Sequence[Row]) -> Sequence[Row]:
        trained = [row for row in rows if "policy" in row]
        ranked = means(trained, ("policy", "recipe"), _SHOWN)
        return sorted(ranked, key=lambda row: (str(row["recipe"]), -float(row["accuracy"])))

    def remarks(self, rows: Sequence[Row]) -> Sequence[str]:
        table = self.table(rows)
        return [
            f"Recommended under {recipe}: {_recommend([r for r in table if r['recipe'] == recipe])}"
            for recipe in dict.fromkeys(row["recipe"] for row in table)
        ] + self._verify(rows)

    def _verify(self, rows: Sequence[Row]) -> list[str]:
        """Whether the policies reach the target in every training."""
        if self.target is None:
            return []
        took: dict[str, list[float]] = {}
        for row in rows:
            if "policy" in row:
                curve = [float(row[f"accuracy_{epoch}"]) for epoch in range(1, EPOCHS + 1)]
                key = f"{row['policy']} under {row['recipe']}"
                took.setdefault(key, []).append(steps_to(curve, self.target))
        return [
            f"{key}: {_reached(epochs, self.target)}"
            for key, epochs in sorted(took.items(), key=lambda item: max(item[1]))
        ]


def _reached(epochs: Sequence[float], target: float) -> str:
    if math.isinf(max(epochs)):
        return f"does not reach {target:g} in {EPOCHS} epochs"
    return f"reaches {target:g} after {max(epochs):.0f} epochs at most"


def _recommend(ranked: Sequence[Row]) -> str:
    """The cheapest of those that are within half a point of the most accurate."""
    best = float(ranked[0]["accuracy"])
    near = [row for row in ranked if float(row["accuracy"]) >= best - 0.005]
    pick = min(near, key=lambda row: float(row["cost"]))
    accuracy, cost = float(pick["accuracy"]), float(pick["cost"])
    return f"{pick['policy']}, accuracy {accuracy:.4f}, its best after {cost:.1f} epochs."


def _train(policy: str, recipe: str, seed: int) -> list[Row]:
    task = digits()
    graphs = build_graphs(digits_mlp(seed), "cross-entropy", "momentum")
    schedule = parse_schedule(policy)
    learned = learn(graphs, task, schedule, EPOCHS, _METRICS, recipe=recipe, seed=seed)
    curve = [scores["accuracy"] for scores in learned.history]
    row: dict[str, str | float | int] = {
        "policy": policy,
        "recipe": recipe,
        "seed": seed,
        **{name: learned.last[name] for name in _METRICS},
        "cost": 1 + int(np.argmax(curve)),
        "robustness": learned.training_loss - learned.last["validation_loss"],
        "training_loss": learned.training_loss,
        "steps": EPOCHS * steps_of(task),
        **{f"accuracy_{epoch}": value for epoch, value in enumerate(curve, 1)},
    }
    return [row]


def _check_policies() -> list[Row]:
    relative, absolute, differing = 0.0, 0.0, 0
    for text, printed in PUBLISHED.items():
        schedule = parse_schedule(text)
        for step, expected in zip(STEPS, printed):
            exact = FORMULAS[text](step)
            relative = max(relative, abs(schedule(step) - exact) / exact)
            absolute = max(absolute, 0.0 if expected is None else abs(schedule(step) - expected))
    for text in (*PUBLISHED, *POLICIES):
        first, second = parse_schedule(text), parse_schedule(text)
        order = random.Random(0).sample(range(1000), 1000)
        shuffled = {step: first(step) for step in order}
        differing += sum(second(step) != shuffled[step] for step in range(1000))
    found = {"D1": relative, "D1 printed": absolute, "D2": differing}
    return [{"check": name, "value": value} for name, value in found.items()]


def _check_metrics() -> list[Row]:
    predictions = np.log(np.array(_TABLE)).astype(np.float32)
    worst = 0.0
    for name, expected in _BY_HAND.items():
        metric = _METRICS[name]()
        metric.update([predictions], np.array(_TRUTH), 0.0, len(_TRUTH))
        worst = max(worst, abs(metric.result() - expected))
    return [{"check": "D4", "value": worst}]

"""Recommendation: Deep & Cross and a plain deep network, on clicks whose law is known."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxbf.studies.claim import Side
from onnxbf.studies.learning import Plan, scores
from onnxbf.studies.networks import INT64, Network
from onnxbf.studies.subject import Floor, Scores, Subject
from onnxbf.studies.task import LABELS, Task
from onnxbf.training.class_metrics import Auc

NUMBERS, FIELDS, VALUES, SIZE = 8, 6, 50, 8  # SIZE: of an embedding
ROWS, TESTED = 40_000, 10_000
_PARTS = slice(ROWS), slice(ROWS, None)
PLAN = Plan(epochs=3, rate=0.004, batch=128)


@functools.cache
def clicks() -> Task:
    """Examples of 8 numbers ``x``, 6 fields ``fields`` of 50 values each, and a click or none.

    The log-odds of a click: an effect of each value, weights of the numbers, and three crosses, in
    which a field's value decides how another's, or a number, counts. Values are as frequent as in
    Zipf's law.
    """
    rng = np.random.default_rng(0)
    frequent = 1 / np.arange(1, VALUES + 1)
    fields = rng.choice(VALUES, (ROWS + TESTED, FIELDS), p=frequent / frequent.sum())
    numbers = rng.normal(size=(ROWS + TESTED, NUMBERS))
    effects, crosses = rng.normal(0, 0.6, (FIELDS, VALUES)), rng.normal(size=(3, VALUES, 2))
    odds = numbers @ rng.normal(0, 0.3, NUMBERS) - 0.7
    for field in range(FIELDS):
        odds += effects[field, fields[:, field]]
    for field, cross in enumerate(crosses):
        mine, other = cross[fields[:, field]], cross[fields[:, field + 3], ::-1]
        odds += 0.5 * (mine * other).sum(1) + 0.4 * mine[:, 0] * numbers[:, field]
    clicked = rng.random(len(odds)) < 1 / (1 + np.exp(-odds))
    data = {
        "x": numbers.astype(np.float32),
        "fields": fields + VALUES * np.arange(FIELDS),  # rows of one table
        LABELS: clicked.astype(np.float32)[:, None],
    }
    return Task(*({k: v[rows] for k, v in data.items()} for rows in _PARTS))


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of click data: numbers, fields, and the values of a field, each of which has its own row."""

    numbers: int = NUMBERS
    fields: int = FIELDS
    values: int = VALUES

    @property
    def features(self) -> int:
        """Numbers and embeddings of an example."""
        return self.numbers + self.fields * SIZE


MADE = Sizes()


def _features(seed: int, sizes: Sizes) -> Network:
    """Numbers beside embeddings: (N, features)."""
    net = Network(seed, (sizes.numbers,))
    numbers, fields = net.last, net.input("fields", (sizes.fields,), INT64)
    net.at(fields).embed(sizes.fields * sizes.values, SIZE).then("Flatten")
    return net.at(net.build.Concat(numbers, net.last, axis=1))


def deep_and_cross(seed: int, sizes: Sizes = MADE) -> ir.Model:
    """Wang et al. (2017): two cross layers beside layers of 64 and 32 units."""
    net, width = _features(seed, sizes), sizes.features
    features = net.last
    for _ in range(2):  # x + x0 (x . w) + b
        before = net.last
        along = net.product(width, 1, width**-0.5).last
        crossed = net.build.Add(net.build.Mul(features, along), net.parameter(np.zeros(width)))
        net.at(net.build.Add(before, crossed))
    crossed = net.last
    deep = net.at(features).dense(width, 64).then("Relu").dense(64, 32).then("Relu").last
    return net.at(net.build.Concat(crossed, deep, axis=1)).dense(width + 32, 1).finish(1)


def deep(seed: int, sizes: Sizes = MADE) -> ir.Model:
    """Layers of 128, 64 and 32 units."""
    net = _features(seed, sizes).dense(sizes.features, 128).then("Relu").dense(128, 64)
    return net.then("Relu").dense(64, 32).then("Relu").dense(32, 1).finish(1)


Make = Callable[[int, Sizes], ir.Model]


def _predict(make: Make, sizes: Sizes, data: Callable[[], Task], recipe: str, seed: int) -> Scores:
    model = make(seed, sizes)
    found = scores(model, "bce-with-logits", data(), PLAN, {"auc": Auc}, recipe, seed)
    return {"log-loss": found["validation_loss"], "auc": found["auc"]}


def click_subjects(
    data: Callable[[], Task] = clicks, sizes: Sizes = MADE, floor: float = 0.8
) -> tuple[Subject, ...]:
    """Both networks; the floor is above logistic regression's AUC of 0.79 on ``clicks``."""
    return tuple(
        Subject(
            name=name,
            about=about,
            train=functools.partial(_predict, make, sizes, data),
            score="log-loss",
            allowed=0.006,
            floors=(Floor("auc", Side.AT_LEAST, floor),),
        )
        for name, about, make in (
            ("deep-cross", "recommendation, Deep & Cross with embeddings", deep_and_cross),
            ("deep", "recommendation, a deep network with embeddings", deep),
        )
    )

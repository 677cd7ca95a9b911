"""Least squares by single-sample steps, 20 problems side by side, and what theory says of them."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxbf.recipe import load_recipe
from onnxbf.studies.networks import scalar_model
from onnxbf.training.graphs import build_graphs
from onnxbf.training.trainer import Trainer

Array = NDArray[Any]
LANES, SIZE, SAMPLES, STEPS, LAST, RATE = 20, 10, 1000, 12_000, 2000, 0.01
EPSILON = 2.0**-8  # the unit roundoff of bfloat16


@dataclass(frozen=True, slots=True)
class Problems:
    """Samples (lanes, samples, size), and the weights (lanes, size) that fit all of them."""

    samples: Array
    solution: Array


@dataclass(frozen=True, slots=True)
class Errors:
    """Distances from the solution in the last steps: the median of all, the least of each lane."""

    median: float
    least: Array


@functools.cache
def problems() -> Problems:
    """Normal samples, and solutions that are uniform from 0 to 100."""
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(LANES, SAMPLES, SIZE)).astype(np.float32)
    return Problems(samples, rng.uniform(0, 100, (LANES, SIZE)).astype(np.float32))


def bound(given: Problems) -> Array:
    """How near a lane can come to its solution where updates are rounded to nearest.

    A weight w does not move by a step of at most EPSILON / 2 of it. The gradient of a sample is at
    most L times the distance, where L is the largest squared norm of a sample; so all weights stand
    still from a distance delta on, and one step shrinks it by no more than 1 - RATE L.
    """
    largest = np.square(given.samples, dtype=np.float64).sum(2).max(1)
    least = np.abs(given.solution).min(1).astype(np.float64)
    delta = EPSILON * least / (2 * RATE * largest + EPSILON)
    shrink: Array = (1 - RATE * largest) * delta
    return shrink


def lanes(recipe: str, rule: str) -> Errors:
    """Train all lanes by cyclic steps of one sample, from 0.

    Args:
        recipe: what is rounded forward and backward.
        rule: how weights are kept, see ``parse_weight_update``.
    """
    given = problems()
    targets = np.einsum("lns,ls->nl", given.samples, given.solution)
    model = scalar_model(
        {"x": (LANES, SIZE), "y": (LANES,)},
        {"w": np.zeros((LANES, SIZE), np.float32)},
        lambda b, v: b.ReduceSum(
            b.Mul(_square(b, b.Sub(_rows(b, b.Mul(v["w"], v["x"])), v["y"])), b.constant(0.5)),
            keepdims=0,
        ),
    )
    graphs = build_graphs(model, "output", "sgd", weight_update=rule)
    trainer = Trainer(graphs.under(load_recipe(recipe)), threads=1)
    distances = np.empty((LAST, LANES))
    for step in range(STEPS):
        row = step % SAMPLES
        trainer.step([{"x": given.samples[:, row], "y": targets[row]}], RATE)
        if step >= STEPS - LAST:
            away = trainer.state()["w"].astype(np.float64) - given.solution
            distances[step - STEPS + LAST] = np.linalg.norm(away, axis=1)
    return Errors(float(np.median(distances)), distances.min(0))


def _rows(b: Any, value: Any) -> Any:
    return b.ReduceSum(value, b.integers(1), keepdims=0)


def _square(b: Any, value: Any) -> Any:
    return b.Mul(value, value)

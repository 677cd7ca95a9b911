"""How sure a network is where it is right: LRBench's confidence metrics (Wu et al., 2019).

The confidence of an element is its largest probability, the softmax of its predictions. Only the
elements whose class is predicted most strongly count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from onnxbf.training.matching import check_labels
from onnxbf.training.metric import Metric, needed, rows

Array = NDArray[Any]


@dataclass(kw_only=True)
class Confidence(Metric):
    """The mean confidence.

    Args:
        ignore_index: elements with this label do not count.
        axis: of the classes; by default the one that the loss ``cross-entropy`` takes.
    """

    ignore_index: int = -100
    axis: int | None = None
    _confidences: list[Array] = field(default_factory=list, init=False)
    _labels: list[Array] = field(default_factory=list, init=False)
    _classes: int = field(default=0, init=False)

    def update(
        self, predictions: Sequence[Array], labels: Array | None, loss: float, size: int
    ) -> None:
        scores, classes = rows(predictions, labels, self.axis)
        check_labels(needed(labels), scores.shape[1], self.ignore_index)
        right = (scores.argmax(1) == classes) & ~np.isnan(scores).any(1)
        right &= classes != self.ignore_index
        self._confidences.append(_largest_probability(scores[right]))
        self._labels.append(classes[right])
        self._classes = scores.shape[1]

    def result(self) -> float:
        confidences, _ = self._gathered()
        return float(confidences.mean()) if len(confidences) else math.nan

    def _gathered(self) -> tuple[Array, Array]:
        if not self._labels:
            return np.empty(0), np.empty(0, np.int64)
        return np.concatenate(self._confidences), np.concatenate(self._labels)


@dataclass(kw_only=True)
class ConfidenceDeviation(Confidence):
    """The standard deviation of the confidences (of all of them, not of a sample)."""

    better: ClassVar[str] = "lower"

    def result(self) -> float:
        confidences, _ = self._gathered()
        return float(confidences.std()) if len(confidences) else math.nan


@dataclass(kw_only=True)
class ClassConfidenceDeviation(Confidence):
    """The standard deviation, over classes, of a class's mean confidence: LRBench's CDAC.

    The mean of a class that is never right is 0.
    """

    better: ClassVar[str] = "lower"

    def result(self) -> float:
        if not self._classes:
            return math.nan
        confidences, labels = self._gathered()
        sums = np.bincount(labels, confidences, self._classes)
        counts = np.bincount(labels, minlength=self._classes)
        return float((sums / np.maximum(counts, 1)).std())


def _largest_probability(scores: Array) -> Array:
    """1 / sum(exp(score - largest)), which is the softmax of the largest, in float64."""
    wide = scores.astype(np.float64)
    probabilities: Array = 1 / np.exp(wide - wide.max(1, keepdims=True, initial=-np.inf)).sum(1)
    return probabilities

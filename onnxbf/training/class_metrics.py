"""Metrics of classes: how often the label is predicted, how surprising it is, how well it ranks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from onnxbf.errors import DataError, SpecError
from onnxbf.training.matching import check_labels
from onnxbf.training.metric import Metric, needed, only, quotient, rows

Array = NDArray[Any]


@dataclass(kw_only=True)
class TopK(Metric):
    """The share of elements whose class is among the ``k`` that are predicted most strongly.

    Of equal predictions the class of the lower number is stronger. Where a prediction of an element
    is NaN, the element is wrong.

    Args:
        k: how many classes.
        ignore_index: elements with this label do not count.
        axis: of the classes; by default the one that the loss ``cross-entropy`` takes.
    """

    k: int = 5
    ignore_index: int = -100
    axis: int | None = None
    _right: int = field(default=0, init=False)
    _counted: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.k < 1:
            raise SpecError(f"k must be at least 1, not {self.k}.")

    def update(
        self, predictions: Sequence[Array], labels: Array | None, loss: float, size: int
    ) -> None:
        scores, classes = rows(predictions, labels, self.axis)
        check_labels(needed(labels), scores.shape[1], self.ignore_index)
        counts = classes != self.ignore_index
        scores, classes = scores[counts], classes[counts]
        label = np.take_along_axis(scores, classes[:, None], 1)
        lower = np.arange(scores.shape[1]) < classes[:, None]
        ahead = (scores > label) | ((scores == label) & lower)
        right = (np.count_nonzero(ahead, axis=1) < self.k) & ~np.isnan(scores).any(axis=1)
        self._right += int(np.count_nonzero(right))
        self._counted += len(classes)

    def result(self) -> float:
        return quotient(self._right, self._counted)


@dataclass(kw_only=True)
class Accuracy(TopK):
    """The share of elements whose class is predicted most strongly: ``top-k`` of one class."""

    k: int = field(default=1, init=False)


@dataclass(kw_only=True)
class Perplexity(Metric):
    """e to the power of the mean cross entropy of all elements.

    It is had from the loss, which must be ``cross-entropy`` without weights and label smoothing.

    Args:
        ignore_index: elements with this label do not count.
    """

    better: ClassVar[str] = "lower"
    ignore_index: int = -100
    _sum: float = field(default=0.0, init=False)
    _counted: int = field(default=0, init=False)

    def update(
        self, predictions: Sequence[Array], labels: Array | None, loss: float, size: int
    ) -> None:
        counted = int(np.count_nonzero(needed(labels) != self.ignore_index))
        if counted:  # the mean over nothing is NaN
            self._sum += loss * counted
            self._counted += counted

    def result(self) -> float:
        try:
            return math.exp(quotient(self._sum, self._counted))
        except OverflowError:
            return math.inf


@dataclass(kw_only=True)
class Auc(Metric):
    """The area under the receiver operating characteristic, of two classes.

    Exactly: the share of pairs of a positive and a negative whose positive scores higher, equal
    scores counting half (Mann and Whitney, 1947). NaN if a score is NaN or a class is absent.
    The score is the output if labels have its shape, the elements of all columns pooled; else, of
    two outputs for each element, the second less the first.

    Args:
        ignore_index: elements with this label do not count.
        axis: of the classes; by default the one that the loss ``cross-entropy`` takes.
    """

    ignore_index: int = -100
    axis: int | None = None
    _scores: list[Array] = field(default_factory=list, init=False)
    _truth: list[Array] = field(default_factory=list, init=False)

    def update(
        self, predictions: Sequence[Array], labels: Array | None, loss: float, size: int
    ) -> None:
        scores, truth = self._pooled(predictions, needed(labels))
        counts = truth != self.ignore_index
        scores, truth = scores[counts], truth[counts]
        if not np.isin(truth, (0, 1)).all():
            raise DataError("auc is of labels 0 and 1; there are others.")
        self._scores.append(scores)
        self._truth.append(truth == 1)

    def result(self) -> float:
        if not self._scores:
            return math.nan
        scores, truth = np.concatenate(self._scores), np.concatenate(self._truth)
        if np.isnan(scores).any():
            return math.nan
        positives, negatives = scores[truth], np.sort(scores[~truth])
        below = np.searchsorted(negatives, positives, "left").sum(dtype=np.int64)
        not_above = np.searchsorted(negatives, positives, "right").sum(dtype=np.int64)
        return quotient(int(below + not_above), 2 * len(positives) * len(negatives))

    def _pooled(self, predictions: Sequence[Array], labels: Array) -> tuple[Array, Array]:
        output = only(predictions)
        if output.shape == labels.shape:
            return output.ravel().astype(np.float64), labels.ravel()
        scores, classes = rows(predictions, labels, self.axis)
        if scores.shape[1] != 2:
            raise DataError(f"auc is of two classes, but there are {scores.shape[1]}.")
        with np.errstate(invalid="ignore"):  # infinity less infinity is NaN, and told as that
            return np.subtract(scores[:, 1], scores[:, 0], dtype=np.float64), classes

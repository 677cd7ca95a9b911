"""What a metric is, and what all of them ask of predictions and labels.

All metrics are exact over an epoch, however it is cut into batches: they keep sums in float64, and
the area under the curve keeps every score.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from onnxbf.errors import DataError

Array = NDArray[Any]


@dataclass(kw_only=True)
class Metric:
    """A number for an epoch, gathered batch by batch."""

    better: ClassVar[str] = "higher"  # or lower

    def update(
        self, predictions: Sequence[Array], labels: Array | None, loss: float, size: int
    ) -> None:
        """Take a batch into account.

        Args:
            predictions: the outputs that the loss is of.
            labels: None for a loss that has none.
            loss: of the batch.
            size: the number of examples in it.

        Raises:
            DataError: predictions and labels that the metric is not defined for.
        """
        raise NotImplementedError

    def result(self) -> float:
        """The metric so far; NaN where nothing counted, or where it is not defined."""
        raise NotImplementedError


def only(predictions: Sequence[Array]) -> Array:
    """The one output that there must be.

    Raises:
        DataError: another number of outputs.
    """
    if len(predictions) != 1:
        raise DataError(f"This metric is of one output, but the loss is of {len(predictions)}.")
    return predictions[0]


def needed(labels: Array | None) -> Array:
    """The labels, which there must be.

    Raises:
        DataError: there are none.
    """
    if labels is None:
        raise DataError("This metric needs labels, and the loss has none.")
    return labels


def rows(
    predictions: Sequence[Array], labels: Array | None, axis: int | None
) -> tuple[Array, Array]:
    """Predictions as (elements, classes), labels as (elements,).

    Args:
        axis: of the classes; None: the second, but the last of three.

    Raises:
        DataError: shapes that do not fit to each other.
    """
    scores, labels = only(predictions), needed(labels)
    chosen = (2 if scores.ndim == 3 else 1) if axis is None else axis
    if not -scores.ndim <= chosen < scores.ndim:
        raise DataError(f"Predictions of shape {scores.shape} have no axis {chosen} of classes.")
    scores = np.moveaxis(scores, chosen, -1)
    if scores.shape[:-1] != labels.shape:
        raise DataError(
            f"Labels of shape {labels.shape} are no classes of predictions of shape "
            f"{predictions[0].shape}, whose axis {chosen} is that of the classes."
        )
    return scores.reshape(-1, scores.shape[-1]), labels.ravel()


def difference_of(predictions: Sequence[Array], labels: Array | None) -> Array:
    """Predictions less labels, in float64.

    Raises:
        DataError: their shapes differ.
    """
    output, labels = only(predictions), needed(labels)
    if output.shape != labels.shape:
        raise DataError(
            f"Predictions of shape {output.shape} and labels of shape {labels.shape} differ: this "
            "metric compares them element by element."
        )
    return np.subtract(output, labels, dtype=np.float64)


def quotient(numerator: float, denominator: int) -> float:
    """A quotient that is NaN where nothing was counted."""
    return numerator / denominator if denominator else math.nan

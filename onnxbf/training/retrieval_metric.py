"""Whether what belongs together is found: the metric of two encoders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxbf.errors import DataError
from onnxbf.training.metric import Metric, quotient

Array = NDArray[Any]


@dataclass(kw_only=True)
class Retrieval(Metric):
    """The share of rows of the first output whose own row is the nearest of the second's.

    Nearest, by cosine, among the rows of the same batch; a row with a NaN is wrong, and of equally
    near rows the first counts.
    """

    _right: int = field(default=0, init=False)
    _counted: int = field(default=0, init=False)

    def update(
        self, predictions: Sequence[Array], labels: Array | None, loss: float, size: int
    ) -> None:
        shapes = [output.shape for output in predictions]
        if len(shapes) != 2 or shapes[0] != shapes[1] or len(shapes[0]) != 2:
            raise DataError(
                f"retrieval is of two outputs (batch, features) of one shape, not of {shapes}."
            )
        first, second = (_unit(output) for output in predictions)
        nearness = first @ second.T
        right = nearness.argmax(1) == np.arange(len(nearness))
        self._right += int(np.count_nonzero(right & ~np.isnan(nearness).any(1)))
        self._counted += len(right)

    def result(self) -> float:
        return quotient(self._right, self._counted)


def _unit(output: Array) -> Array:
    """Rows of length 1, in float64; rows of zeros stay."""
    wide = output.astype(np.float64)
    length = np.sqrt(np.square(wide).sum(1, keepdims=True))
    rows: Array = np.divide(wide, length, out=wide, where=length != 0)
    return rows

"""Metrics of values: how far predictions are from what they should be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from onnxbf.errors import SpecError
from onnxbf.training.metric import Metric, difference_of, quotient

Array = NDArray[Any]


@dataclass(kw_only=True)
class Mean(Metric):
    """The mean of what differences cost."""

    better: ClassVar[str] = "lower"
    _sum: float = field(default=0.0, init=False)
    _counted: int = field(default=0, init=False)

    def update(
        self, predictions: Sequence[Array], labels: Array | None, loss: float, size: int
    ) -> None:
        costs = self.costs(difference_of(predictions, labels))
        self._sum += float(costs.sum())
        self._counted += costs.size

    def costs(self, difference: Array) -> Array:
        """Costs of elements or of examples; ``difference`` is (batch, ...)."""
        raise NotImplementedError

    def result(self) -> float:
        return quotient(self._sum, self._counted)


@dataclass(kw_only=True)
class Mse(Mean):
    """The mean of the squared differences of all elements."""

    def costs(self, difference: Array) -> Array:
        return np.square(difference)


@dataclass(kw_only=True)
class Mae(Mean):
    """The mean of the absolute differences of all elements."""

    def costs(self, difference: Array) -> Array:
        return np.abs(difference)


@dataclass(kw_only=True)
class Psnr(Mean):
    """The peak signal-to-noise ratio in decibels, 10 log10(peak^2 / mse), the mean over examples.

    Args:
        peak: the difference between the largest and the smallest value that labels can have.
    """

    better: ClassVar[str] = "higher"
    peak: float = 1.0

    def __post_init__(self) -> None:
        if not self.peak > 0:
            raise SpecError(f"peak must be above 0, not {self.peak}.")

    def costs(self, difference: Array) -> Array:
        errors = np.square(difference).reshape(len(difference), -1).mean(axis=1)
        with np.errstate(divide="ignore"):  # an example without error has an infinite ratio
            ratios: Array = 10 * np.log10(self.peak**2 / errors)
        return ratios

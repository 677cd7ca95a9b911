"""How far two tensors are apart, in every measure that people ask for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxbf.formats import NumberFormat


@dataclass(frozen=True, slots=True)
class TensorDifference:
    """How tensor ``b`` differs from ``a``, the reference.

    Attributes:
        max_rel, mean_rel: |a - b| / |a| where a is not zero.
        max_ulp, mean_ulp: |a - b| in units in the last place, at a, of the comparison's format.
        norm_rel: the 2-norm of a - b over the 2-norm of a; this is what ``tolerance`` bounds.
        cosine: of the angle between a and b. snr_db: 20 log10(norm of a / norm of a - b).
        special_mismatches: elements of which one is NaN or infinite and the other is not the same.
    """

    a: str
    b: str
    shape: tuple[int, ...]
    max_abs: float
    mean_abs: float
    max_rel: float
    mean_rel: float
    max_ulp: float
    mean_ulp: float
    norm_rel: float
    cosine: float
    snr_db: float
    special_mismatches: int
    tolerance: float
    is_output: bool

    @property
    def within(self) -> bool:
        return self.special_mismatches == 0 and self.norm_rel <= self.tolerance


def difference(
    a: NDArray[np.generic],
    b: NDArray[np.generic],
    fmt: NumberFormat,
    *,
    names: tuple[str, str],
    tolerance: float,
    is_output: bool = True,
) -> TensorDifference:
    """Measure ``b`` against the reference ``a``, of the same shape, in float64.

    Args:
        fmt: the format whose units in the last place are counted.
        tolerance: the ``norm_rel`` that is explained; elements that are no numbers of floating
            point must be equal.
    """
    exact = not (np.issubdtype(a.dtype, np.floating) and np.issubdtype(b.dtype, np.floating))
    x, y = _as_numbers(a), _as_numbers(b)
    usable = np.isfinite(x) & np.isfinite(y)
    same_special = (np.isnan(x) & np.isnan(y)) | (x == y)
    x, y = x[usable], y[usable]
    gap = np.abs(x - y)
    nonzero = x != 0
    relative = gap[nonzero] / np.abs(x[nonzero])
    ulps = gap / _ulp(x, fmt)
    norm_x, norm_y, norm_gap = (float(np.linalg.norm(v)) for v in (x, y, x - y))
    return TensorDifference(
        a=names[0],
        b=names[1],
        shape=a.shape,
        max_abs=_max(gap),
        mean_abs=_mean(gap),
        max_rel=_max(relative),
        mean_rel=_mean(relative),
        max_ulp=_max(ulps),
        mean_ulp=_mean(ulps),
        norm_rel=_ratio(norm_gap, norm_x),
        cosine=float(x @ y / (norm_x * norm_y)) if norm_x and norm_y else float(norm_x == norm_y),
        snr_db=float(20 * np.log10(norm_x / norm_gap)) if norm_x and norm_gap else _snr(norm_gap),
        special_mismatches=int(np.count_nonzero(~usable & ~same_special)),
        tolerance=0.0 if exact else tolerance,
        is_output=is_output,
    )


def _as_numbers(array: NDArray[np.generic]) -> NDArray[np.float64]:
    """Flat float64; texts become 0 or 1 numbers by their order so that equal stays equal."""
    if array.dtype.kind in "OUS":
        return np.array([hash(text) % 2**52 for text in array.ravel().tolist()], np.float64)
    return array.astype(np.float64).ravel()


def _ulp(x: NDArray[np.float64], fmt: NumberFormat) -> NDArray[np.float64]:
    """The unit in the last place of ``fmt`` at each number."""
    exponent = np.where(x == 0, fmt.min_exponent, np.frexp(x)[1] - 1)
    exponent = np.maximum(exponent, fmt.min_exponent) - fmt.mantissa_bits
    return np.asarray(np.ldexp(1.0, exponent), np.float64)


def _max(values: NDArray[np.float64]) -> float:
    return float(values.max(initial=0.0))


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else 0.0


def _ratio(part: float, whole: float) -> float:
    if whole:
        return part / whole
    return float("inf") if part else 0.0


def _snr(noise: float) -> float:
    """Of a signal without power, or without noise."""
    return float("-inf") if noise else float("inf")

"""What scaled casts do to numbers, in NumPy: to be read, and what the kernels are judged by.

Delayed scaling keeps a state for every tensor, float32: the factor for the next step, then the
largest magnitudes of the last steps, newest first, 0 where there was none.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from onnxbf.errors import UnsupportedError
from onnxbf.rounding import round_array
from onnxbf.scaled_cast import Amax, Scale, ScaledCast

Array = NDArray[Any]
_SMALLEST, _LARGEST = np.finfo(np.float32).tiny, np.finfo(np.float32).max  # of factors


def quantize_scaled(
    x: Array, cast: ScaledCast, state: Array | None = None, words: Array | None = None
) -> Array:
    """``x`` scaled, rounded, and scaled back by the same factor.

    Args and errors are those of ``round_scaled``.
    """
    return round_scaled(x, cast, state, words).result


class Scaled(NamedTuple):
    """Numbers on their way: scaled, then rounded, then scaled back."""

    scaled: Array
    rounded: Array
    result: Array


def round_scaled(
    x: Array, cast: ScaledCast, state: Array | None = None, words: Array | None = None
) -> Scaled:
    """What becomes of ``x``, step by step.

    Args:
        x: float32, any shape.
        state: of delayed scaling; None for a current one.
        words: random uint32, as many as ``x`` has elements; for stochastic rounding.

    Raises:
        UnsupportedError: a state of another length than the history is, or none.
    """
    _check_state(cast, state)
    scale = scale_of(amax(x), cast, np.float32(1)) if state is None else state[0]
    with np.errstate(all="ignore"):
        random = None if words is None else words.reshape(x.shape)
        scaled = np.asarray(x * scale, np.float32)
        rounded = np.asarray(round_array(scaled, cast.cast, random))
        return Scaled(scaled, rounded, np.asarray(rounded / scale, np.float32))


def first_state(cast: ScaledCast) -> Array:
    """That of delayed scaling before the first step: the factor is 1."""
    return np.array([1] + [0] * cast.history, np.float32)


def next_state(x: Array, cast: ScaledCast, state: Array) -> Array:
    """The state for the next step, after one in which the tensor was ``x``.

    The factor stays where the magnitude that decides is 0 or not finite (TransformerEngine,
    delayed_scaling.cu). Of magnitudes that are NaN, the largest is none.

    Raises:
        UnsupportedError: a state of another length than the history is.
    """
    _check_state(cast, state)
    newest = np.array([amax(x)], np.float32)
    history = np.concatenate([newest, state[1:-1]])
    decides = newest[0] if cast.amax is Amax.MOST_RECENT else np.fmax.reduce(history)
    return np.concatenate([[scale_of(decides, cast, state[0])], history]).astype(np.float32)


def amax(x: Array) -> np.float32:
    """The largest magnitude, NaN where a number is NaN; 0 of a tensor without elements."""
    largest = np.max(np.abs(x), initial=0)
    return np.float32(np.nan if np.isnan(largest) else largest)


def scale_of(largest: np.float32, cast: ScaledCast, otherwise: np.float32) -> np.float32:
    """The factor for a largest magnitude; ``otherwise`` where that is 0 or not finite.

    It is kept among normal numbers of float32.
    """
    if not np.isfinite(largest) or largest == 0:
        return otherwise
    wanted = np.float32(cast.cast.format.max * 2.0**-cast.margin)
    with np.errstate(all="ignore"):
        scale = np.clip(wanted / largest, _SMALLEST, _LARGEST).astype(np.float32)
    if cast.scale is Scale.POWER_OF_TWO:
        scale = np.ldexp(np.float32(1), np.frexp(scale)[1] - 1)
    return np.float32(scale)


def _check_state(cast: ScaledCast, state: Array | None) -> None:
    wanted = (cast.history + 1,) if cast.history else None
    found = None if state is None else state.shape
    if wanted != found:
        told = "none" if wanted is None else f"one of {wanted[0]} numbers"
        raise UnsupportedError(f"the state has shape {found}, but {cast} takes {told}.")

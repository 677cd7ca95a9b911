"""What block formats do to numbers, in NumPy: to be read, and what the kernels are judged by."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxbf.block_cast import BlockCast
from onnxbf.errors import UnsupportedError
from onnxbf.formats import Cast
from onnxbf.rounding import round_array

Array = NDArray[Any]
_LOWEST = -127  # of the exponents that a scale (E8M0) can have


def quantize_blocks(x: Array, cast: BlockCast, words: Array | None = None) -> Array:
    """``x`` in a block format, and brought back.

    Every block is scaled by a power of two: its largest magnitude then has the exponent of the
    largest element. All numbers of a block that holds a NaN or an infinity become NaN.

    Args:
        x: float32, any shape.
        words: random uint32, as many as ``x`` has elements; for stochastic rounding.

    Raises:
        UnsupportedError: ``x`` lacks the axis.
    """
    if x.ndim and not -x.ndim <= cast.axis < x.ndim:
        raise UnsupportedError(f"axis is {cast.axis}, but x has {x.ndim} dimensions.")
    if x.size == 0:
        return x.copy()
    if x.ndim == 0:
        return quantize_blocks(x.reshape(1), cast.along(0), words).reshape(())
    shared = _shared_exponents(x, cast)
    wide = np.where(np.isfinite(x), x, 0).astype(np.float64)  # powers of two change no bit in it
    scaled = np.clip(np.ldexp(wide, -shared), -cast.max, cast.max).astype(np.float32)
    random = None if words is None else words.reshape(x.shape)
    elements = round_array(scaled, Cast(cast.element, cast.rounding), random)
    found = np.ldexp(elements, shared)
    bad = _along(cast, ~np.isfinite(x), np.any)
    return np.where(bad, np.float32(np.nan), found).astype(np.float32)


def _shared_exponents(x: Array, cast: BlockCast) -> Array:
    """The exponent of the scale that each number is brought to."""
    magnitude = np.abs(np.where(np.isfinite(x), x, 0).astype(np.float64))
    largest = _along(cast, magnitude, np.max)
    exponent = np.where(largest > 0, np.frexp(largest)[1] - 1, _LOWEST)
    shared: Array = np.maximum(exponent - cast.max_exponent, _LOWEST)
    return shared


def _along(cast: BlockCast, values: Array, reduce: Any) -> Array:
    """``values`` reduced over every block, and given to each of its numbers."""
    length = values.shape[cast.axis]
    blocks = np.split(values, range(cast.block, length, cast.block), axis=cast.axis)
    reduced = [
        np.broadcast_to(reduce(each, axis=cast.axis, keepdims=True), each.shape) for each in blocks
    ]
    return np.concatenate(reduced, axis=cast.axis)

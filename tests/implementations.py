"""All that rounds: the scalar reference, NumPy, and the C++ kernels of each instruction set.

Tests take them as parameters, so that one body judges all.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from onnxbf.custom_ops.kernels import kernels
from onnxbf.custom_ops.library import RandomKey
from onnxbf.formats import Cast
from onnxbf.philox import random_words
from onnxbf.rounding import round_array, round_value
from tests.other_sets import complete_sets

Floats = NDArray[np.float32]
Round = Callable[..., Floats]  # (values, cast, *, seed=0, node=0, step=0, offset=0)


def _scalar(values: Floats, cast: Cast, **key: int) -> Floats:
    words = random_words(values.size, **{"seed": 0, "node": 0, "step": 0, **key})
    rounded = [
        round_value(float(value), cast, int(word))
        for value, word in zip(values.ravel(), words, strict=True)
    ]
    return np.array(rounded, np.float32).reshape(values.shape)


def _numpy(values: Floats, cast: Cast, **key: int) -> Floats:
    words = random_words(values.size, **{"seed": 0, "node": 0, "step": 0, **key})
    return round_array(values, cast, words.reshape(values.shape))


def _kernel(
    instruction_set: str,
    values: Floats,
    cast: Cast,
    *,
    seed: int = 0,
    node: int = 0,
    step: int = 0,
    offset: int = 0,
) -> Floats:
    rounded = np.empty(values.shape, np.float32)
    kernels(instruction_set).quantize_dequantize(
        np.ascontiguousarray(values), rounded, cast, RandomKey(seed, node, step), begin=offset
    )
    return rounded


KERNELS: dict[str, Round] = {f"c++ {name}": partial(_kernel, name) for name in complete_sets()}
FAST: dict[str, Round] = {"numpy": _numpy, **KERNELS}
ALL: dict[str, Round] = {"scalar": _scalar, **FAST}


def same(got: Floats, wanted: Floats) -> bool:
    """Whether all bits agree, those of NaNs apart: of them, that they are NaN."""
    bits = got.view(np.uint32) == wanted.view(np.uint32)
    return bool((bits | (np.isnan(got) & np.isnan(wanted))).all())


def same_bits(got: Floats, wanted: Floats) -> bool:
    return bool((got.view(np.uint32) == wanted.view(np.uint32)).all())

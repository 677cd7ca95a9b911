"""Data that networks of a study learn."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxbf.studies.optional import needed

Array = NDArray[Any]
LABELS = "labels"


@dataclass(frozen=True, slots=True)
class Task:
    """Examples to learn from and others to be tested on: inputs by name, and ``labels``."""

    training: Mapping[str, Array]
    testing: Mapping[str, Array]


def classes_of(task: Task) -> int:
    """How many classes there are, of labels 0 and up."""
    return 1 + int(max(task.training[LABELS].max(), task.testing[LABELS].max()))


@functools.cache
def digits() -> Task:
    """scikit-learn's handwritten digits, (N, 1, 8, 8) from 0 to 1: 1,257 and 540 of them.

    Raises:
        RuntimeMissing: scikit-learn is not installed.
    """
    data, target = needed("sklearn.datasets").load_digits(return_X_y=True)
    images = (data / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    order = np.random.default_rng(0).permutation(len(images))
    train, test = order[:-540], order[-540:]
    return Task(*({"x": images[rows], LABELS: target[rows]} for rows in (train, test)))

"""What networks were trained with in tests/models/training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


def batches_of(data: Mapping[str, NDArray[Any]], labels: str) -> list[Arrays]:
    """The batches of a file, its labels under this name: ``input/NAME/0``, ``labels/0`` ..."""
    batches = []
    for index in range(sum(key.startswith("labels/") for key in data)):
        inputs = [key for key in data if key.startswith("input/") and key.endswith(f"/{index}")]
        batch = {key.split("/")[1]: data[key] for key in inputs}
        batches.append({**batch, labels: data[f"labels/{index}"]})
    return batches

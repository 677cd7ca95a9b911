"""Which parameters training moved, and where they are: the active ones.

A parameter is active where it is among those, of all layers together, that changed the most.
Source: Li and Banerjee, Experiments with Rich Regime Training, 2021. The paper's abstract gives no
threshold; the top hundredth is ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxbf.errors import SpecError
from onnxbf.training.layers import Layer

Array = NDArray[Any]
State = Mapping[str, Array]
ACTIVE = 0.01


@dataclass(frozen=True, slots=True)
class Activity:
    r"""How active a layer is.

    Attributes:
        layer: its name.
        share: how many of all active parameters are in this layer.
        density: how many of this layer's parameters are active.
        change: the mean of \|final - initial\|, over the mean of \|initial\|.
    """

    layer: str
    share: float
    density: float
    change: float


def activity(
    initial: State, final: State, layers: Sequence[Layer], fraction: float = ACTIVE
) -> list[Activity]:
    """The activity of every layer.

    Args:
        fraction: of all parameters, how many are active.

    Raises:
        SpecError: a fraction that is not between 0 and 1.
    """
    names = [name for layer in layers for name in layer.parameters]
    active = most_changed(initial, final, names, fraction)
    total = sum(int(np.count_nonzero(mask)) for mask in active.values())
    return [_activity(layer, initial, final, active, total) for layer in layers]


def reset_active(
    initial: State,
    final: State,
    names: Sequence[str],
    fraction: float = ACTIVE,
    *,
    lazy: bool = False,
) -> dict[str, Array]:
    """``final`` with the active parameters as they were initially.

    Args:
        names: of the parameters.
        fraction: of all parameters, how many are reset.
        lazy: reset as many of those that changed the least instead.

    Raises:
        SpecError: a fraction that is not between 0 and 1.
    """
    reset = most_changed(initial, final, names, fraction, least=lazy)
    changed = {name: np.where(mask, initial[name], final[name]) for name, mask in reset.items()}
    return {**final, **changed}


def most_changed(
    initial: State, final: State, names: Sequence[str], fraction: float, *, least: bool = False
) -> dict[str, Array]:
    """Masks of the parameters that changed the most; of equal ones the first count.

    Raises:
        SpecError: a fraction that is not between 0 and 1.
    """
    if not 0 < fraction < 1:
        raise SpecError(f"A fraction of the parameters must be between 0 and 1, not {fraction}.")
    changes = [np.abs(final[name] - initial[name]).ravel() for name in names]
    joined = np.concatenate(changes)
    count = max(round(fraction * joined.size), 1)
    order = np.argsort(joined if least else -joined, kind="stable")
    chosen = np.zeros(joined.size, bool)
    chosen[order[:count]] = True
    parts = np.split(chosen, np.cumsum([each.size for each in changes])[:-1])
    return {name: part.reshape(initial[name].shape) for name, part in zip(names, parts)}


def _activity(
    layer: Layer, initial: State, final: State, active: Mapping[str, Array], total: int
) -> Activity:
    counts = sum(int(np.count_nonzero(active[name])) for name in layer.parameters)
    size = sum(initial[name].size for name in layer.parameters)
    moved = sum(
        float(np.abs(final[n] - initial[n]).sum(dtype=np.float64)) for n in layer.parameters
    )
    whole = sum(float(np.abs(initial[n]).sum(dtype=np.float64)) for n in layer.parameters)
    return Activity(layer.name, counts / total, counts / size, moved / whole if whole else np.inf)

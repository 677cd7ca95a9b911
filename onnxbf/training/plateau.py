"""LRBench's change of the schedule when training no longer gets anywhere."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from onnxbf.errors import SpecError
from onnxbf.training.schedule import Schedule, require


@dataclass(frozen=True, kw_only=True)
class OnPlateau(Schedule):
    """Another schedule after a plateau: a larger one at first, a smaller one towards the end.

    After an epoch there is a plateau where more than ``window`` epochs are over and none of the
    last ``window`` was better than the one before it by ``threshold`` or more. Then the schedule
    before the present one in the list takes over in the first 0.8 of the run, and the one after it
    later; ``cooldown`` epochs pass before the next change. Which one is active depends on the
    scores of the epochs alone, so it needs no memory of its own.

    Source: LRBench, ChangeLROnPlateau.

    Args:
        schedules: from the largest rates to the smallest.
        start: the index of the first one.
        monitor: the score that is watched.
        better: whether ``lower`` or ``higher`` scores are better.
    """

    name: ClassVar[str] = "PLATEAU"
    schedules: tuple[Schedule, ...]
    start: int = 0
    cooldown: int = 5
    threshold: float = 0.05
    window: int = 5
    monitor: str = "loss"
    better: str = "lower"

    INCREASE_UNTIL: ClassVar[float] = 0.8

    def __post_init__(self) -> None:
        require(len(self.schedules) > 0, "schedules to choose from")
        require(0 <= self.start < len(self.schedules), f"start below {len(self.schedules)}")
        require(self.window > 1 and self.cooldown >= 0, "window of at least 2, cooldown of 0")
        require(self.better in ("lower", "higher"), "better to be lower or higher")

    def rate(self, step: int) -> float:
        return self.schedules[self.start](step)

    def after(self, history: Sequence[Mapping[str, float]], epochs: int) -> Schedule:
        """The schedule that is active after these epochs of ``epochs`` in all.

        Raises:
            SpecError: epochs have no score ``monitor``.
        """
        if history and self.monitor not in history[0]:
            raise SpecError(
                f"Schedule {self.name} monitors {self.monitor!r}, but an epoch has "
                f"{', '.join(history[0])}."
            )
        values = [scores[self.monitor] for scores in history]
        index, pause = self.start, 0
        for done in range(1, len(values) + 1):
            if self._is_plateau(values[:done]) and pause == 0:
                step = -1 if done / epochs < self.INCREASE_UNTIL else 1
                index = min(max(index + step, 0), len(self.schedules) - 1)
                pause = self.cooldown
            elif pause > 0:
                pause -= 1
        return self.schedules[index]

    def _is_plateau(self, values: Sequence[float]) -> bool:
        if len(values) <= self.window:
            return False
        last = values[-self.window :]
        sign = 1 if self.better == "higher" else -1
        return (
            max(sign * (now - before) for before, now in itertools.pairwise(last)) < self.threshold
        )

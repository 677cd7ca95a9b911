"""Schedules as optax has them, with its names, and what joins schedules."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from onnxbf.training.schedule import Schedule, check_boundaries, require


@dataclass(frozen=True, kw_only=True)
class Constant(Schedule):
    """Always ``value``."""

    name: ClassVar[str] = "constant"
    value: float

    def rate(self, step: int) -> float:
        return self.value


@dataclass(frozen=True, kw_only=True)
class Polynomial(Schedule):
    """From ``init_value`` to ``end_value`` along (1 - progress) to the ``power``."""

    name: ClassVar[str] = "polynomial"
    init_value: float
    end_value: float
    transition_steps: int
    power: float = 1.0
    transition_begin: int = 0

    def __post_init__(self) -> None:
        require(self.transition_steps > 0, "transition_steps of at least 1")

    def rate(self, step: int) -> float:
        done = min(max(step - self.transition_begin, 0), self.transition_steps)
        left = 1 - done / self.transition_steps
        share: float = left**self.power
        return (self.init_value - self.end_value) * share + self.end_value


@dataclass(frozen=True, kw_only=True)
class Linear(Polynomial):
    """From ``init_value`` to ``end_value`` in a straight line."""

    name: ClassVar[str] = "linear"


@dataclass(frozen=True, kw_only=True)
class Cosine(Schedule):
    """Half a cosine from ``init_value`` to ``alpha`` times it (Loshchilov and Hutter, 2017)."""

    name: ClassVar[str] = "cosine"
    init_value: float
    decay_steps: int
    alpha: float = 0.0
    exponent: float = 1.0

    def __post_init__(self) -> None:
        require(self.decay_steps > 0, "decay_steps of at least 1")

    def rate(self, step: int) -> float:
        wave = 0.5 * (1 + math.cos(math.pi * min(step / self.decay_steps, 1)))
        share: float = wave**self.exponent
        return self.init_value * ((1 - self.alpha) * share + self.alpha)


@dataclass(frozen=True, kw_only=True)
class Exponential(Schedule):
    """``init_value`` times ``decay_rate`` for every ``transition_steps``, down to ``end_value``."""

    name: ClassVar[str] = "exponential"
    init_value: float
    transition_steps: int
    decay_rate: float
    transition_begin: int = 0
    staircase: bool = False
    end_value: float | None = None

    def __post_init__(self) -> None:
        require(self.transition_steps > 0, "transition_steps of at least 1")
        require(self.decay_rate > 0, "a decay_rate above 0")

    def rate(self, step: int) -> float:
        periods = max(step - self.transition_begin, 0) / self.transition_steps
        periods = math.floor(periods) if self.staircase else periods
        value = self.init_value * self.decay_rate**periods
        if self.end_value is None:
            return value
        within = max if self.decay_rate < 1 else min
        return within(value, self.end_value)


@dataclass(frozen=True, kw_only=True)
class Piecewise(Schedule):
    """``init_value``, times a scale from each boundary on."""

    name: ClassVar[str] = "piecewise"
    init_value: float
    boundaries: tuple[int, ...]
    scales: tuple[float, ...]

    def __post_init__(self) -> None:
        check_boundaries(self.boundaries)
        require(len(self.scales) == len(self.boundaries), "as many scales as boundaries")

    def rate(self, step: int) -> float:
        passed = (s for b, s in zip(self.boundaries, self.scales) if step >= b)
        return math.prod(passed, start=self.init_value)


@dataclass(frozen=True, kw_only=True)
class OneCycle(Schedule):
    """Up to ``peak_value`` and down again along cosines (Smith and Topin, 2018)."""

    name: ClassVar[str] = "one-cycle"
    transition_steps: int
    peak_value: float
    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4

    def __post_init__(self) -> None:
        require(self.transition_steps > 0, "transition_steps of at least 1")
        require(0 < self.pct_start < 1, "a pct_start between 0 and 1")

    def rate(self, step: int) -> float:
        top = self.pct_start * self.transition_steps
        low = self.peak_value / self.div_factor
        if step < top:
            return _half_wave(low, self.peak_value, step / top)
        progress = min((step - top) / (self.transition_steps - top), 1)
        return _half_wave(self.peak_value, low / self.final_div_factor, progress)


def _half_wave(start: float, end: float, progress: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True, kw_only=True)
class WarmUp(Schedule):
    """A straight line from ``init_value`` to where ``schedule`` begins, then ``schedule``."""

    name: ClassVar[str] = "warm-up"
    steps: int
    schedule: Schedule
    init_value: float = 0.0

    def __post_init__(self) -> None:
        require(self.steps > 0, "steps of at least 1")

    def rate(self, step: int) -> float:
        if step >= self.steps:
            return self.schedule(step - self.steps)
        return self.init_value + (self.schedule(0) - self.init_value) * step / self.steps


@dataclass(frozen=True, kw_only=True)
class Joined(Schedule):
    """One schedule after another; each counts its steps from its own boundary."""

    name: ClassVar[str] = "joined"
    schedules: tuple[Schedule, ...]
    boundaries: tuple[int, ...]

    def __post_init__(self) -> None:
        check_boundaries(self.boundaries)
        require(
            len(self.schedules) == len(self.boundaries) + 1, "one boundary between two schedules"
        )

    def rate(self, step: int) -> float:
        passed = sum(step >= boundary for boundary in self.boundaries)
        start = self.boundaries[passed - 1] if passed else 0
        return self.schedules[passed](step - start)


@dataclass(frozen=True, kw_only=True)
class Epochs(Schedule):
    """A schedule whose clock counts epochs of ``steps`` steps."""

    name: ClassVar[str] = "epochs"
    schedule: Schedule
    steps: int

    def __post_init__(self) -> None:
        require(self.steps > 0, "steps of at least 1")

    def rate(self, step: int) -> float:
        return self.schedule(step // self.steps)

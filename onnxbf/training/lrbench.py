"""The learning-rate policies of LRBench (Wu et al., 2019, table 1).

Each is |k0 - k1| g(t) + min(k0, k1), where ``g`` is the policy's own function of the step t. Those
that only decay have k1 = 0. ``descend`` shifts a cycle by half, so that it begins at its other end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from onnxbf.errors import SpecError
from onnxbf.training.schedule import Schedule, check_boundaries, require


@dataclass(frozen=True, kw_only=True)
class Fix(Schedule):
    """Always k0."""

    name: ClassVar[str] = "FIX"
    k0: float

    def rate(self, step: int) -> float:
        return self.k0 * self.g(step)

    def g(self, step: int) -> float:
        """The policy's own function of the step."""
        return 1.0


@dataclass(frozen=True, kw_only=True)
class Step(Fix):
    """gamma^floor(t / l)."""

    name: ClassVar[str] = "STEP"
    gamma: float
    l: int  # noqa: E741  the paper's name, which users write

    def __post_init__(self) -> None:
        require(self.l > 0, "l of at least 1")

    def g(self, step: int) -> float:
        return _power(self.gamma, step // self.l)


@dataclass(frozen=True, kw_only=True)
class NStep(Fix):
    """gamma^i, where i of the steps ``l`` have been reached."""

    name: ClassVar[str] = "NSTEP"
    gamma: float
    l: tuple[int, ...]  # noqa: E741

    def __post_init__(self) -> None:
        check_boundaries(self.l)

    def g(self, step: int) -> float:
        return _power(self.gamma, sum(step >= boundary for boundary in self.l))


@dataclass(frozen=True, kw_only=True)
class Exp(Fix):
    """gamma^t."""

    name: ClassVar[str] = "EXP"
    gamma: float

    def g(self, step: int) -> float:
        return _power(self.gamma, step)


@dataclass(frozen=True, kw_only=True)
class Inv(Fix):
    """1 / (1 + t gamma)^p."""

    name: ClassVar[str] = "INV"
    gamma: float
    p: float

    def g(self, step: int) -> float:
        value: float = (1 + step * self.gamma) ** -self.p
        return value


@dataclass(frozen=True, kw_only=True)
class Poly(Fix):
    """(1 - t / l)^p, and 0 from l on."""

    name: ClassVar[str] = "POLY"
    p: float
    l: int  # noqa: E741

    def __post_init__(self) -> None:
        require(self.l > 0, "l of at least 1")

    def g(self, step: int) -> float:
        value: float = max(1 - step / self.l, 0.0) ** self.p
        return value


@dataclass(frozen=True, kw_only=True)
class Sig(Fix):
    """1 / (1 + exp(-gamma (t - l)))."""

    name: ClassVar[str] = "SIG"
    gamma: float
    l: int  # noqa: E741

    def g(self, step: int) -> float:
        return 0.5 * (1 + math.tanh(0.5 * self.gamma * (step - self.l)))


@dataclass(frozen=True, kw_only=True)
class Tri(Schedule):
    """(2 / pi) |arcsin(sin(pi t / 2l))|: straight from k0 to k1 in l steps, and back."""

    name: ClassVar[str] = "TRI"
    k0: float
    k1: float
    l: int  # noqa: E741
    descend: bool = False

    def __post_init__(self) -> None:
        require(self.l > 0, "l of at least 1")

    def rate(self, step: int) -> float:
        clock = step + self.l if self.descend else step
        share = self.decay(step, clock) * self.g(clock)
        return abs(self.k0 - self.k1) * share + min(self.k0, self.k1)

    def g(self, clock: int) -> float:
        return 1 - abs(clock % (2 * self.l) - self.l) / self.l

    def decay(self, step: int, clock: int) -> float:
        """What the cycle is multiplied by."""
        return 1.0


@dataclass(frozen=True, kw_only=True)
class Tri2(Tri):
    """TRI, halved after each cycle of 2l steps."""

    name: ClassVar[str] = "TRI2"

    def decay(self, step: int, clock: int) -> float:
        return _power(0.5, clock // (2 * self.l))


@dataclass(frozen=True, kw_only=True)
class TriExp(Tri):
    """TRI times gamma^t."""

    name: ClassVar[str] = "TRIEXP"
    gamma: float

    def decay(self, step: int, clock: int) -> float:
        return _power(self.gamma, step)


@dataclass(frozen=True, kw_only=True)
class Sin(Tri):
    """|sin(pi t / 2l)|."""

    name: ClassVar[str] = "SIN"

    def g(self, clock: int) -> float:
        return abs(math.sin(math.pi * (clock % (2 * self.l)) / (2 * self.l)))


@dataclass(frozen=True, kw_only=True)
class Sin2(Sin, Tri2):
    """SIN, halved after each cycle of 2l steps."""

    name: ClassVar[str] = "SIN2"


@dataclass(frozen=True, kw_only=True)
class SinExp(Sin, TriExp):
    """SIN times gamma^t."""

    name: ClassVar[str] = "SINEXP"


@dataclass(frozen=True, kw_only=True)
class Cos(Tri):
    """(1 + cos(2 pi t / l)) / 2; with ``period=lrbench`` its code's, (1 + cos(pi t / l)) / 2."""

    name: ClassVar[str] = "COS"
    period: str = "table"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.period not in ("table", "lrbench"):
            raise SpecError(f"period must be table or lrbench, not {self.period!r}.")

    def g(self, clock: int) -> float:
        cycle = self.l if self.period == "table" else 2 * self.l
        return 0.5 * (1 + math.cos(2 * math.pi * (clock % cycle) / cycle))


@dataclass(frozen=True, kw_only=True)
class Cos2(Cos, Tri2):
    """COS, halved after each 2l steps."""

    name: ClassVar[str] = "COS2"


@dataclass(frozen=True, kw_only=True)
class CosExp(Cos, TriExp):
    """COS times gamma^t."""

    name: ClassVar[str] = "COSEXP"


def _power(base: float, exponent: int) -> float:
    """A power that ends at infinity instead of an error."""
    try:
        return float(base**exponent)
    except OverflowError:
        return math.inf

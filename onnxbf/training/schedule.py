"""What a schedule is: a pure function of the step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar

from onnxbf.errors import SpecError


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A learning rate for every step from 0; prints as the text that makes it."""

    name: ClassVar[str]

    def __call__(self, step: int) -> float:
        """The learning rate of a step.

        Raises:
            ValueError: a negative step.
        """
        if step < 0:
            raise ValueError(f"steps count from 0, not {step}")
        return self.rate(step)

    def rate(self, step: int) -> float:
        raise NotImplementedError

    def after(self, history: Sequence[Mapping[str, float]], epochs: int) -> Schedule:
        """The schedule after epochs with these scores, of ``epochs`` in all: mostly the same."""
        return self

    def __str__(self) -> str:
        given = [(f.name, getattr(self, f.name)) for f in fields(self)]
        defaults = {f.name: f.default for f in fields(self) if f.default is not MISSING}
        shown = [f"{k}={_text(v)}" for k, v in given if k not in defaults or v != defaults[k]]
        return f"{self.name}{{{','.join(shown)}}}"


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{','.join(map(_text, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def require(holds: bool, expected: str) -> None:
    """SpecError that says what was expected, unless it holds."""
    if not holds:
        raise SpecError(f"A schedule needs {expected}.")


def check_boundaries(boundaries: Sequence[int]) -> None:
    """SpecError unless boundaries ascend."""
    ascend = all(first < second for first, second in zip((0, *boundaries), boundaries))
    require(ascend, f"boundaries that ascend from above 0, not {list(boundaries)}")

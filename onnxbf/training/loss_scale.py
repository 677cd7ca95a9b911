"""Loss scaling: keep small gradients within the range of a narrow format.

The gradient of the loss begins at the scale instead of 1, and the update divides by it. A dynamic
scale grows until gradients overflow, skips that step, and shrinks.
Source: Micikevicius et al., Mixed Precision Training, 2018, section 3.2; NVIDIA's user guide on
mixed precision for the numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from onnxbf.errors import OptionUnknown, SpecError
from onnxbf.spec import parse_spec

LOWEST, HIGHEST = 2.0**-24, 2.0**64  # what float32 scales by, and back, without rounding
_OPTIONS = ("init", "growth_interval")


@dataclass(frozen=True, slots=True)
class LossScale:
    """The scale and when it last changed; ``after`` gives the one for the next step.

    Attributes:
        scale: a power of two, so that scaling is exact but for overflow and underflow; from
            ``LOWEST`` to ``HIGHEST``.
        dynamic: whether it ever changes.
        growth_interval: steps without overflow after which it doubles.
        good_steps: steps since it last changed.
        skipped: steps that did not count, because a gradient was not finite.
    """

    scale: float = 1.0
    dynamic: bool = False
    growth_interval: int = 2000
    good_steps: int = 0
    skipped: int = 0

    def after(self, norm: float) -> LossScale:
        """The state after a step whose gradients had this global norm."""
        if not math.isfinite(norm):
            smaller = max(self.scale / 2, LOWEST) if self.dynamic else self.scale
            return replace(self, scale=smaller, good_steps=0, skipped=self.skipped + 1)
        if not self.dynamic or self.good_steps + 1 < self.growth_interval:
            return replace(self, good_steps=self.good_steps + 1)
        return replace(self, scale=min(self.scale * 2, HIGHEST), good_steps=0)


def parse_loss_scale(text: str) -> LossScale:
    """Read a number, or ``dynamic{init=65536,growth_interval=2000}``.

    Raises:
        NameUnknown: an option that it has not.
        SpecError: neither, or a number that is not a power of two from 2^-24 to 2^64.
    """
    spec = parse_spec(text)
    if spec.name != "dynamic":
        return LossScale(_power_of_two(spec.name, text))
    for option in spec.options:
        if option not in _OPTIONS:
            raise OptionUnknown("loss scale 'dynamic'", option, _OPTIONS)
    scale = _power_of_two(spec.options.get("init", "65536"), text)
    interval = spec.options.get("growth_interval", "2000")
    if not interval.isdecimal() or int(interval) < 1:
        raise SpecError(f"growth_interval of loss scale {text!r} must be a number of steps.")
    return LossScale(scale, dynamic=True, growth_interval=int(interval))


def _power_of_two(number: str, text: str) -> float:
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not LOWEST <= value <= HIGHEST or math.frexp(value)[0] != 0.5:
        raise SpecError(
            f"Loss scale {text!r} must be a power of two from 2^-24 to 2^64, so that it rounds "
            "nothing, or dynamic."
        )
    return value

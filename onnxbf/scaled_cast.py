"""Casts into a narrow format of tensors that one factor each brings into its range.

    e4m3fn:rne{scaling=current}    the factor follows from the tensor's own largest magnitude
    e4m3fn:rne{scaling=delayed}    from the largest magnitudes that it had in steps before

A number x becomes round(x s) / s, kept within the format's largest number, where s is that number
over 2^margin and over the largest magnitude.

Source: NVIDIA TransformerEngine, recipes DelayedScaling and Float8CurrentScaling, whose names and
defaults these are (common/recipe/__init__.py, delayed_scaling.cu, recipe_common.cuh).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from onnxbf.errors import NameUnknown, SpecError
from onnxbf.formats import Cast, NumberFormat, Overflow, parse_cast, relative
from onnxbf.spec import Spec, TextEnum, parse_spec

_HISTORY = 1024  # steps that delayed scaling looks back, unless told
_LONGEST = 2**20
_WIDEST_MARGIN = 15
_WIDEST_EXPONENT = 5  # bits; a format of 8 has the range of float32


class Scaling(TextEnum):
    """Whose largest magnitude decides the factor."""

    CURRENT = "current"
    DELAYED = "delayed"


class Amax(TextEnum):
    """Which of the largest magnitudes of the steps before decides."""

    MAX = "max"
    MOST_RECENT = "most_recent"


class Scale(TextEnum):
    """Which numbers factors are."""

    FLOAT32 = "fp32"
    POWER_OF_TWO = "power_of_two"  # the largest that is not above


@dataclass(frozen=True, slots=True)
class ScaledCast:
    """A cast, and how its factor is found; prints as the text that names it.

    Attributes:
        cast: of the scaled numbers; it saturates.
        history: how many steps before decide; 0: this tensor decides.
        amax: which of them.
        margin: powers of two that are left free above the largest magnitude.
        scale: which numbers factors are.

    Raises:
        SpecError: a history or a margin out of range, or a format with the range of float32.
    """

    cast: Cast
    history: int = 0
    amax: Amax = Amax.MAX
    margin: int = 0
    scale: Scale = Scale.FLOAT32

    def __post_init__(self) -> None:
        if not 0 <= self.history <= _LONGEST:
            raise SpecError(f"The history of {self.cast} has {self.history} steps: take 1 or more.")
        if not 0 <= self.margin <= _WIDEST_MARGIN:
            raise SpecError(
                f"The margin of {self.cast} is {self.margin}, but must be a whole number from 0 to "
                f"{_WIDEST_MARGIN}."
            )
        if self.cast.format.exponent_bits > _WIDEST_EXPONENT:
            raise SpecError(
                f"Scaling takes formats of 2 to {_WIDEST_EXPONENT} exponent bits, whose largest "
                f"number float32 is far above, not {self.cast.format}."
            )
        if self.cast.overflow is not Overflow.SATURATE:
            raise SpecError(f"{self.cast} is scaled, so it saturates: leave out overflow.")

    @property
    def stochastic(self) -> bool:
        """Whether it needs random bits."""
        return self.cast.stochastic

    @property
    def scaling(self) -> Scaling:
        return Scaling.DELAYED if self.history else Scaling.CURRENT

    @property
    def biased(self) -> bool:
        """Whether errors go one way."""
        return self.cast.biased

    @property
    def largest_error(self) -> float:
        """Relative, of a number that scaling leaves normal."""
        return self.cast.largest_error

    @property
    def precision(self) -> NumberFormat:
        """What numbers are as far apart as, wherever they lie; its name says of what kind."""
        return relative(f"scaled {self.cast.format}", self.cast.format.mantissa_bits)

    @property
    def tag(self) -> str:
        """What names of rounded tensors end in."""
        return f"scaled_{self.cast.tag}"

    def __str__(self) -> str:
        plain = parse_spec(str(self.cast))
        options = {key: text for key, text in plain.options.items() if key != "overflow"}
        options["scaling"] = self.scaling.value
        if self.history:
            options["history"] = str(self.history)
        chosen = {"amax": self.amax, "margin": self.margin, "scale": self.scale}
        usual = {"amax": Amax.MAX, "margin": 0, "scale": Scale.FLOAT32}
        options |= {key: str(value) for key, value in chosen.items() if value != usual[key]}
        return str(Spec(plain.name, options))


_DELAYED = ("history", "amax")  # options that go with delayed scaling alone
_OPTIONS = ("scaling", *_DELAYED, "margin", "scale")


def is_scaled_cast(text: str) -> bool:
    """Whether text is a cast with one of these options; SpecError where it cannot be read."""
    return any(option in _OPTIONS for option in parse_spec(text).options)


def parse_scaled_cast(text: str) -> ScaledCast:
    """Read ``FORMAT:ROUNDING{scaling=current|delayed,history=N,amax=max|most_recent,...}``.

    ``margin=N`` and ``scale=fp32|power_of_two`` go with both scalings, and the options of a plain
    cast, but for ``overflow``, too.

    Raises:
        NameUnknown: an unknown format, rounding, option or choice.
        SpecError: a history or a margin that is no whole number in range; options of a delayed
            scaling with another.
    """
    spec = parse_spec(text)
    if "overflow" in spec.options:
        raise SpecError(f"{text!r} is scaled, so it saturates: leave out overflow.")
    own = {key: value for key, value in spec.options.items() if key in _OPTIONS}
    plain = {key: value for key, value in spec.options.items() if key not in _OPTIONS}
    if "scaling" not in own:
        raise SpecError(f"{next(iter(own))} in {text!r} goes with scaling=current or =delayed.")
    scaling = _choice(Scaling, "scaling", own["scaling"])
    lost = [option for option in _DELAYED if option in own]
    if scaling is Scaling.CURRENT and lost:
        raise SpecError(f"{lost[0]} in {text!r} goes with scaling=delayed.")
    return ScaledCast(
        parse_cast(str(Spec(spec.name, {**plain, "overflow": Overflow.SATURATE.value}))),
        _number(own, "history", _HISTORY, 1, text) if scaling is Scaling.DELAYED else 0,
        _choice(Amax, "choice for amax", own.get("amax", Amax.MAX.value)),
        _number(own, "margin", 0, 0, text),
        _choice(Scale, "choice for scale", own.get("scale", Scale.FLOAT32.value)),
    )


_EnumT = TypeVar("_EnumT", bound=TextEnum)


def _choice(kind: type[_EnumT], label: str, text: str) -> _EnumT:
    known = [member.value for member in kind]
    if text not in known:
        raise NameUnknown(label, text, known)
    return kind(text)


def _number(options: Mapping[str, str], name: str, default: int, low: int, text: str) -> int:
    found = options.get(name, str(default))
    if not found.isdecimal() or int(found) < low:
        raise SpecError(f"{name} in {text!r} is {found}, but must be a whole number from {low}.")
    return int(found)

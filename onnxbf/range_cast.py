"""Quantizers to integers of a few bits over the range that numbers have: their vocabulary.

    affine    a tensor over its range, to nearest: activations (Jacob et al., 2018)
    weight    the same over a range that holds 0, which stays 0: weights
    ptq       as affine, rounding stochastically: gradients per tensor
    psq       over the range of each sample, stochastically: gradients per sample
    bhq       of samples that block-Householder reflections mix: those of a wide range share their
              noise with others

Source: Chen et al., A Statistical Framework for Low-bitwidth Training of Deep Neural Networks,
2020 (arXiv 2010.14298), and its code for what the paper leaves open.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from onnxbf.errors import NameUnknown, OptionUnknown, SpecError
from onnxbf.formats import NumberFormat, relative
from onnxbf.spec import TextEnum, parse_spec


class Grouping(TextEnum):
    """Which numbers share a range."""

    TENSOR = "tensor"
    SAMPLE = "sample"
    HOUSEHOLDER = "householder"


@dataclass(frozen=True, slots=True)
class RangeCast:
    """A quantizer; prints as the text that names it.

    Attributes:
        name: in the table above.
        bits: of an integer, from 2 to 8.
        grouping: which numbers share a range; the first dimension is that of samples.
        stochastic: rounds up with the probability that the fraction is.
        exact_zero: the range holds 0, which stays 0.

    Raises:
        SpecError: bits that are not from 2 to 8.
    """

    name: str
    bits: int
    grouping: Grouping
    stochastic: bool
    exact_zero: bool = False

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 8:
            raise SpecError(f"{self.name} has {self.bits} bits, but must have from 2 to 8.")

    @property
    def bins(self) -> int:
        """The largest integer."""
        return int(2**self.bits - 1)

    @property
    def biased(self) -> bool:
        """Whether errors go one way."""
        return False

    @property
    def largest_error(self) -> float:
        """Relative to the range, which bounds the numbers: a bin, of both roundings."""
        return 1 / self.bins

    @property
    def precision(self) -> NumberFormat:
        """What the largest numbers are as far apart as; its name says of what kind."""
        return relative(f"{self.bits}-bit integers", self.bits)

    @property
    def tag(self) -> str:
        """What names of rounded tensors end in."""
        return f"{self.name}{self.bits}"

    def __str__(self) -> str:
        return f"{self.name}{{bits={self.bits}}}"


_TABLE: Mapping[str, tuple[Grouping, bool, bool]] = {
    "affine": (Grouping.TENSOR, False, False),
    "weight": (Grouping.TENSOR, False, True),
    "ptq": (Grouping.TENSOR, True, False),
    "psq": (Grouping.SAMPLE, True, False),
    "bhq": (Grouping.HOUSEHOLDER, True, False),
}
RANGE_CASTS = tuple(_TABLE)


def range_name(grouping: Grouping, *, stochastic: bool, exact_zero: bool) -> str | None:
    """What the quantizer that does this is called; None where it has no name."""
    wanted = (grouping, stochastic, exact_zero)
    return next((name for name, row in _TABLE.items() if row == wanted), None)


def is_range_cast(text: str) -> bool:
    """Whether text begins with the name of a quantizer."""
    return text.partition("{")[0].strip() in _TABLE


def parse_range_cast(text: str) -> RangeCast:
    """Read ``psq{bits=4}``; 8 bits unless told.

    Raises:
        NameUnknown: a quantizer or an option that does not exist.
        SpecError: bits that are no whole number from 2 to 8.
    """
    spec = parse_spec(text)
    if spec.name not in _TABLE:
        raise NameUnknown("quantizer", spec.name, _TABLE)
    for option in spec.options:
        if option != "bits":
            raise OptionUnknown(f"quantizer {spec.name!r}", option, ["bits"])
    bits = spec.options.get("bits", "8")
    if not bits.isdecimal():
        raise SpecError(f"{spec.name} has {bits!r} bits, but must have from 2 to 8.")
    return RangeCast(spec.name, int(bits), *_TABLE[spec.name])

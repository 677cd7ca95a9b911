"""Block formats: elements of a few bits, of which every block along an axis shares an exponent.

    mxfp8     e4m3fn, or e5m2
    mxfp6     e3m2, or e2m3
    mxfp4     e2m1
    mxint8    integers from -127 to 127, times 2^-6

Source: OCP Microscaling Formats (MX) Specification 1.0; microxcaling, whose roundings and treatment
of what is not finite these follow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from onnxbf.errors import NameUnknown, OptionUnknown, SpecError
from onnxbf.formats import (
    FLOAT4_E2M1,
    FLOAT6_E2M3,
    FLOAT6_E3M2,
    FLOAT8_E4M3FN,
    FLOAT8_E5M2,
    NumberFormat,
    Rounding,
    Specials,
    relative,
)
from onnxbf.spec import parse_spec

# As far apart below 2 as integers are; larger numbers of it are not in use.
INT8 = NumberFormat("int8", 2, 6, Specials.NONE)
_BLOCK = 32
_LARGEST_BLOCK = 2**31 - 1
BLOCK_ROUNDINGS = (
    Rounding.NEAREST_EVEN,
    Rounding.NEAREST_AWAY,
    Rounding.TOWARD_ZERO,
    Rounding.STOCHASTIC,
)


@dataclass(frozen=True, slots=True)
class BlockCast:
    """A block format, and how float32 is brought into it; prints as the text that names it.

    Attributes:
        name: in the table above.
        element: the format of elements; INT8 stands for integers.
        rounding: of elements, one of BLOCK_ROUNDINGS.
        block: elements of a block; the last one along the axis may be shorter.
        axis: along which blocks lie: that of the products which are added up, found for each node.

    Raises:
        SpecError: a block of no elements, or a rounding that is not among BLOCK_ROUNDINGS.
    """

    name: str
    element: NumberFormat
    rounding: Rounding = Rounding.NEAREST_EVEN
    block: int = _BLOCK
    axis: int = -1

    def __post_init__(self) -> None:
        if not 1 <= self.block <= _LARGEST_BLOCK:
            raise SpecError(f"{self.name} has blocks of {self.block}, but must have 1 or more.")
        if self.rounding not in BLOCK_ROUNDINGS:
            known = ", ".join(BLOCK_ROUNDINGS)
            raise SpecError(f"{self.name} rounds by {self.rounding}, but must by one of {known}.")

    @property
    def is_integer(self) -> bool:
        return self.element == INT8

    @property
    def max_exponent(self) -> int:
        """Of the largest element."""
        return 0 if self.is_integer else self.element.max_exponent

    @property
    def max(self) -> float:
        """The largest element."""
        return 2 - self.element.eps if self.is_integer else self.element.max

    @property
    def stochastic(self) -> bool:
        """Whether it needs random bits."""
        return self.rounding is Rounding.STOCHASTIC

    @property
    def biased(self) -> bool:
        """Whether errors go one way."""
        return self.rounding is Rounding.TOWARD_ZERO

    @property
    def largest_error(self) -> float:
        """Relative to the largest of a block; saturation may cut off as much as a place."""
        return self.element.eps

    @property
    def precision(self) -> NumberFormat:
        """What the largest of a block are as far apart as; its name says of what kind."""
        return relative(str(self), self.element.mantissa_bits)

    @property
    def _is_plain(self) -> bool:
        """Whether the name alone says which elements it has."""
        return self.element == _TABLE.get(self.name, (None,))[0]

    @property
    def tag(self) -> str:
        """What names of rounded tensors end in."""
        return self.name if self._is_plain else f"{self.name}{self.element}"

    def along(self, axis: int) -> BlockCast:
        """The same in blocks along another axis."""
        return replace(self, axis=axis)

    def __str__(self) -> str:
        options = []
        if not self._is_plain:
            options.append(f"format={self.element}")
        if self.block != _BLOCK:
            options.append(f"block={self.block}")
        if self.rounding is not Rounding.NEAREST_EVEN:
            options.append(f"rounding={self.rounding}")
        return self.name + (f"{{{','.join(options)}}}" if options else "")


_TABLE: Mapping[str, Sequence[NumberFormat]] = {  # the first of each is the default
    "mxfp8": (FLOAT8_E4M3FN, FLOAT8_E5M2),
    "mxfp6": (FLOAT6_E3M2, FLOAT6_E2M3),
    "mxfp4": (FLOAT4_E2M1,),
    "mxint8": (INT8,),
}
BLOCK_CASTS = tuple(_TABLE)
_OPTIONS = ("format", "block", "rounding")


def block_name(element: NumberFormat) -> str | None:
    """What the block format with these elements is called; None where it has no name."""
    return next((name for name, elements in _TABLE.items() if element in elements), None)


def is_block_cast(text: str) -> bool:
    """Whether text begins with the name of a block format."""
    return text.partition("{")[0].strip() in _TABLE


def parse_block_cast(text: str) -> BlockCast:
    """Read ``mxfp8{format=e5m2,block=32,rounding=rne}``; the axis is no part of the text.

    Raises:
        NameUnknown: a block format, an option or a choice that does not exist.
        SpecError: a block that is no whole number from 1.
    """
    spec = parse_spec(text)
    if spec.name not in _TABLE:
        raise NameUnknown("block format", spec.name, _TABLE)
    owner = f"block format {spec.name!r}"
    for option in spec.options:
        if option not in _OPTIONS:
            raise OptionUnknown(owner, option, _OPTIONS)
    formats = {str(element): element for element in _TABLE[spec.name]}
    element = spec.options.get("format", next(iter(formats)))
    if element not in formats:
        raise OptionUnknown(owner, element, formats, "format")
    rounding = spec.options.get("rounding", Rounding.NEAREST_EVEN.value)
    known = [each.value for each in BLOCK_ROUNDINGS]
    if rounding not in known:
        raise OptionUnknown(owner, rounding, known, "rounding")
    block = spec.options.get("block", str(_BLOCK))
    if not block.isdecimal():
        raise SpecError(f"{spec.name} has blocks of {block!r}, but must have 1 or more.")
    return BlockCast(spec.name, formats[element], Rounding(rounding), int(block))

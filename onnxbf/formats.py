"""Number formats and casts: the vocabulary of every rewrite and every kernel.

A format is one constant; everything else about it (largest value, smallest normal, unit roundoff)
is derived. A cast is a format together with how values are brought into it. Both print to the text
that makes them: ``str(parse_cast("bf16:sr{bits=8}")) == "bf16:sr{bits=8}"``.

Sources: IEEE 754-2019; Intel SDM, VCVTNEPS2BF16; the OCP 8-bit floating point and Microscaling
specifications. Names follow ml_dtypes (``fn``: no infinity, NaN is all ones).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeVar

from onnxbf.errors import NameUnknown, OptionUnknown, SpecError
from onnxbf.spec import TextEnum, parse_spec


class Specials(TextEnum):
    """Which codes of a format do not stand for finite numbers."""

    IEEE = "ieee"  # the largest exponent holds infinity and NaN
    NAN = "nan"  # no infinity; exponent and mantissa all ones is NaN ("fn")
    NONE = "none"  # every code is a finite number


class Rounding(TextEnum):
    """How a value between two neighbours of the format is rounded."""

    NEAREST_EVEN = "rne"
    NEAREST_AWAY = "rna"
    TOWARD_ZERO = "rtz"
    UP = "rup"
    DOWN = "rdn"
    TO_ODD = "rto"
    STOCHASTIC = "sr"


class Subnormals(TextEnum):
    """What becomes of magnitudes below the smallest normal number."""

    KEEP = "keep"
    FLUSH = "flush"  # to zero of the same sign, judged before rounding (as AVX512_BF16 does)


class Overflow(TextEnum):
    """What becomes of magnitudes that round beyond the largest number, and of infinities."""

    INFINITY = "infinity"  # NaN where the format has no infinity, the largest where it has neither
    SATURATE = "saturate"  # the largest number


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """A binary floating-point format with a sign bit, no wider than float32."""

    name: str
    exponent_bits: int
    mantissa_bits: int
    specials: Specials = Specials.IEEE
    onnx_type: str | None = None  # name in onnx.TensorProto, where ONNX can store it

    @property
    def bits(self) -> int:
        return 1 + self.exponent_bits + self.mantissa_bits

    @property
    def bias(self) -> int:
        return (1 << (self.exponent_bits - 1)) - 1

    @property
    def min_exponent(self) -> int:
        """Exponent of the smallest normal number."""
        return 1 - self.bias

    @property
    def max_exponent(self) -> int:
        """Exponent of the largest number."""
        reserved = self.specials is Specials.IEEE
        return (1 << self.exponent_bits) - 1 - reserved - self.bias

    @property
    def max(self) -> float:
        """The largest finite number."""
        below_two = 2 if self.specials is Specials.NAN else 1  # all ones is taken by NaN
        return (2.0 - below_two * 2.0**-self.mantissa_bits) * 2.0**self.max_exponent

    @property
    def smallest_normal(self) -> float:
        return 2.0**self.min_exponent

    @property
    def smallest_subnormal(self) -> float:
        return 2.0 ** (self.min_exponent - self.mantissa_bits)

    @property
    def eps(self) -> float:
        """Distance from 1 to the next larger number (one unit in the last place of 1)."""
        return 2.0**-self.mantissa_bits

    @property
    def unit_roundoff(self) -> float:
        """Largest relative error of rounding to nearest in the normal range (Higham, ch. 2)."""
        return self.eps / 2

    def contains(self, other: NumberFormat) -> bool:
        """Whether every finite number of ``other`` is a number of this format."""
        return (
            self.mantissa_bits >= other.mantissa_bits
            and self.max >= other.max
            and self.smallest_subnormal <= other.smallest_subnormal
        )

    def __str__(self) -> str:
        return self.name


def relative(name: str, mantissa_bits: int) -> NumberFormat:
    """What stands for numbers that are so far apart wherever they lie in the range of float32."""
    return NumberFormat(name, 8, mantissa_bits)


FLOAT32 = NumberFormat("fp32", 8, 23, onnx_type="FLOAT")
TF32 = NumberFormat("tf32", 8, 10)
BFLOAT16 = NumberFormat("bf16", 8, 7, onnx_type="BFLOAT16")
FLOAT16 = NumberFormat("fp16", 5, 10, onnx_type="FLOAT16")
FLOAT8_E5M2 = NumberFormat("e5m2", 5, 2, onnx_type="FLOAT8E5M2")
FLOAT8_E4M3 = NumberFormat("e4m3", 4, 3)
FLOAT8_E4M3FN = NumberFormat("e4m3fn", 4, 3, Specials.NAN, onnx_type="FLOAT8E4M3FN")
FLOAT8_E3M4 = NumberFormat("e3m4", 3, 4)
FLOAT8_E3M4FN = NumberFormat("e3m4fn", 3, 4, Specials.NAN)
FLOAT6_E3M2 = NumberFormat("e3m2", 3, 2, Specials.NONE)
FLOAT6_E2M3 = NumberFormat("e2m3", 2, 3, Specials.NONE)
FLOAT4_E2M1 = NumberFormat("e2m1", 2, 1, Specials.NONE)

FORMATS: dict[str, NumberFormat] = {
    fmt.name: fmt
    for fmt in (
        FLOAT32,
        TF32,
        BFLOAT16,
        FLOAT16,
        FLOAT8_E5M2,
        FLOAT8_E4M3,
        FLOAT8_E4M3FN,
        FLOAT8_E3M4,
        FLOAT8_E3M4FN,
        FLOAT6_E3M2,
        FLOAT6_E2M3,
        FLOAT4_E2M1,
    )
}
ALIASES = {
    "float32": "fp32",
    "tensorfloat32": "tf32",
    "bfloat16": "bf16",
    "float16": "fp16",
    "half": "fp16",
    "e8m7": "bf16",
    "e5m10": "fp16",
    "e8m10": "tf32",
    "e8m23": "fp32",
    "float8_e4m3fn": "e4m3fn",
    "float8_e5m2": "e5m2",
}
_EnumT = TypeVar("_EnumT", bound=TextEnum)
_EXMY = re.compile(r"^e([2-8])m([1-9]|1\d|2[0-3])$")


def parse_format(name: str) -> NumberFormat:
    """The format called ``name``: one of FORMATS, an alias, or any IEEE-like ``eXmY``.

    ``eXmY`` (2 <= X <= 8, 1 <= Y <= 23) has X exponent bits, Y mantissa bits, infinities and NaN.

    Raises:
        NameUnknown: no such format.
    """
    key = ALIASES.get(name.lower(), name.lower())
    if key in FORMATS:
        return FORMATS[key]
    match = _EXMY.match(key)
    if match is None:
        hint = "Any eXmY with 2 <= X <= 8 and 1 <= Y <= 23 is a format, too."
        raise NameUnknown("number format", name, [*FORMATS, *ALIASES], hint)
    return NumberFormat(key, int(match[1]), int(match[2]))


@dataclass(frozen=True, slots=True)
class Cast:
    """A format, and how float32 values are brought into it.

    ``random_bits`` (1 to 32) is how many random bits stochastic rounding draws per element; the
    part of the fraction below them is cut off.
    """

    format: NumberFormat
    rounding: Rounding = Rounding.NEAREST_EVEN
    subnormals: Subnormals = Subnormals.KEEP
    overflow: Overflow = Overflow.INFINITY
    random_bits: int = 32

    def __hash__(self) -> int:  # cheap: casts are looked up for every value of a model
        return hash(self.format.name)

    @property
    def stochastic(self) -> bool:
        """Whether it needs random bits."""
        return self.rounding is Rounding.STOCHASTIC

    @property
    def biased(self) -> bool:
        """Whether errors go one way."""
        nearest = (Rounding.NEAREST_EVEN, Rounding.NEAREST_AWAY)
        return self.rounding not in (*nearest, Rounding.STOCHASTIC)

    @property
    def largest_error(self) -> float:
        """Relative, of a normal number."""
        nearest = not self.biased and not self.stochastic
        return self.format.unit_roundoff if nearest else self.format.eps

    @property
    def precision(self) -> NumberFormat:
        """What numbers are as far apart as; its name says what they are rounded to."""
        return self.format

    @property
    def tag(self) -> str:
        """What names of rounded tensors end in."""
        return str(self.format)

    def __str__(self) -> str:
        options = []
        if self.subnormals is not Subnormals.KEEP:
            options.append(f"subnormals={self.subnormals}")
        if self.overflow is not Overflow.INFINITY:
            options.append(f"overflow={self.overflow}")
        if self.random_bits != 32:
            options.append(f"bits={self.random_bits}")
        return f"{self.format}:{self.rounding}" + (f"{{{','.join(options)}}}" if options else "")


_OPTIONS = ("subnormals", "overflow", "bits")


def parse_cast(text: str) -> Cast:
    """Read ``FORMAT[:ROUNDING][{subnormals=keep|flush,overflow=infinity|saturate,bits=N}]``.

    Raises:
        NameUnknown: an unknown format, rounding, option or choice.
        SpecError: text not of that form, or ``bits`` outside 1 to 32 or without ``sr``.
    """
    spec = parse_spec(text)
    name, _, rounding = spec.name.partition(":")
    for option in spec.options:
        if option not in _OPTIONS:
            raise OptionUnknown(f"cast {spec.name!r}", option, _OPTIONS)
    cast = Cast(
        parse_format(name.strip()),
        _choice(Rounding, "rounding", rounding.strip() or "rne"),
        _choice(Subnormals, "choice for subnormals", spec.options.get("subnormals", "keep")),
        _choice(Overflow, "choice for overflow", spec.options.get("overflow", "infinity")),
        _random_bits(text, spec.options.get("bits", "32")),
    )
    if "bits" in spec.options and cast.rounding is not Rounding.STOCHASTIC:
        raise SpecError(f"Option 'bits' in {text!r} goes with stochastic rounding: write :sr.")
    return cast


def _choice(kind: type[_EnumT], label: str, text: str) -> _EnumT:
    try:
        return kind(text)
    except ValueError:
        raise NameUnknown(label, text, [member.value for member in kind]) from None


def _random_bits(text: str, bits: str) -> int:
    if not bits.isdecimal() or not 1 <= int(bits) <= 32:
        raise SpecError(f"Option 'bits' in {text!r} must be a whole number from 1 to 32.")
    return int(bits)

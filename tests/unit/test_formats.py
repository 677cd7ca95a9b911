"""Formats, casts, and the text that they are written in."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from onnxbf.errors import NameUnknown, SpecError
from onnxbf.formats import (
    ALIASES,
    BFLOAT16,
    FLOAT8_E4M3FN,
    FLOAT8_E5M2,
    FLOAT16,
    FLOAT32,
    FORMATS,
    TF32,
    Cast,
    NumberFormat,
    Overflow,
    Rounding,
    Specials,
    Subnormals,
    parse_cast,
    parse_format,
)
from tests.stored_types import STORED

FINFO = {"fp32": np.float32, **STORED}


@pytest.mark.parametrize("name", FINFO)
def test_constants_agree_with_ml_dtypes(name: str) -> None:
    fmt, info = FORMATS[name], ml_dtypes.finfo(FINFO[name])
    assert fmt.bits == info.bits
    assert fmt.max == float(info.max)
    assert fmt.smallest_normal == float(info.smallest_normal)
    assert fmt.smallest_subnormal == float(info.smallest_subnormal)
    assert fmt.eps == float(info.eps)
    assert fmt.unit_roundoff == float(info.eps) / 2


def test_constants_of_formats_that_ml_dtypes_lacks() -> None:
    assert FORMATS["e3m4fn"].max == 30.0
    assert TF32.bits == 19
    assert TF32.max == (2 - 2**-10) * 2.0**127


def test_tables_agree_with_the_names() -> None:
    for name, fmt in FORMATS.items():
        assert fmt.name == name == str(fmt)
    assert set(ALIASES.values()) <= set(FORMATS)


@pytest.mark.parametrize("name", [*FORMATS, "e2m1", "e6m9", "e8m1", "e7m23"])
def test_formats_print_as_they_are_read(name: str) -> None:
    assert str(parse_format(name)) == name


@pytest.mark.parametrize(
    ("text", "fmt"),
    [
        ("bfloat16", BFLOAT16),
        ("BF16", BFLOAT16),
        ("e8m7", BFLOAT16),
        ("E5M10", FLOAT16),
        ("half", FLOAT16),
        ("e8m23", FLOAT32),
        ("float8_e5m2", FLOAT8_E5M2),
    ],
)
def test_aliases(text: str, fmt: NumberFormat) -> None:
    assert parse_format(text) is fmt


@pytest.mark.parametrize("name", ["bf17", "", "e9m3", "e1m3", "e4m24", "e4m0", "e4", "m3", "e4m03"])
def test_unknown_formats(name: str) -> None:
    with pytest.raises(NameUnknown, match="number format"):
        parse_format(name)


def test_the_nearest_name_is_offered() -> None:
    with pytest.raises(NameUnknown, match=r"did you mean 'bfloat16'.*eXmY"):
        parse_format("blfoat16")


def test_containment() -> None:
    assert FLOAT32.contains(BFLOAT16)
    assert FLOAT32.contains(FLOAT16)
    assert not BFLOAT16.contains(FLOAT16)  # too few bits
    assert not FLOAT16.contains(BFLOAT16)  # too small a range
    assert FLOAT16.contains(FLOAT8_E5M2)
    assert FLOAT16.contains(FLOAT8_E4M3FN)
    assert not FLOAT8_E5M2.contains(FLOAT8_E4M3FN)
    assert all(fmt.contains(fmt) for fmt in FORMATS.values())


CASTS = {
    "bf16": Cast(BFLOAT16),
    "bf16:sr": Cast(BFLOAT16, Rounding.STOCHASTIC),
    " bf16 : rtz ": Cast(BFLOAT16, Rounding.TOWARD_ZERO),
    "bf16:sr{bits=8}": Cast(BFLOAT16, Rounding.STOCHASTIC, random_bits=8),
    "fp16:rup{subnormals=flush}": Cast(FLOAT16, Rounding.UP, Subnormals.FLUSH),
    "e4m3fn{overflow=saturate}": Cast(FLOAT8_E4M3FN, overflow=Overflow.SATURATE),
    "e4m3fn:rne{ overflow = saturate, subnormals=keep}": Cast(
        FLOAT8_E4M3FN, overflow=Overflow.SATURATE
    ),
}


@pytest.mark.parametrize(("text", "cast"), CASTS.items())
def test_casts_are_read(text: str, cast: Cast) -> None:
    assert parse_cast(text) == cast
    assert parse_cast(str(cast)) == cast


def test_casts_print_in_full_but_for_defaults() -> None:
    assert str(Cast(BFLOAT16)) == "bf16:rne"
    cast = Cast(FLOAT16, Rounding.STOCHASTIC, Subnormals.FLUSH, Overflow.SATURATE, 8)
    assert str(cast) == "fp16:sr{subnormals=flush,overflow=saturate,bits=8}"


@pytest.mark.parametrize(
    ("text", "error", "told"),
    [
        ("bf17", NameUnknown, "number format 'bf17'"),
        ("bf16:nearest", NameUnknown, "rounding 'nearest'"),
        ("bf16:rnee", NameUnknown, "did you mean 'rne'"),
        ("bf16{subnormals=drop}", NameUnknown, "choice for subnormals 'drop'"),
        ("bf16{overflow=wrap}", NameUnknown, "choice for overflow 'wrap'"),
        ("bf16{overfow=saturate}", NameUnknown, "did you mean 'overflow'"),
        ("bf16:rne{bits=8}", SpecError, "stochastic"),
        ("bf16:sr{bits=0}", SpecError, "1 to 32"),
        ("bf16:sr{bits=33}", SpecError, "1 to 32"),
        ("bf16:sr{bits=many}", SpecError, "1 to 32"),
        ("bf16{overflow}", SpecError, "key=value"),
        ("bf16{", SpecError, "Cannot read"),
    ],
)
def test_casts_that_cannot_be_read(text: str, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        parse_cast(text)


def test_names_print_as_their_value() -> None:
    assert f"{Rounding.NEAREST_EVEN} {Specials.NAN} {Overflow.SATURATE}" == "rne nan saturate"

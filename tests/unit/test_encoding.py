"""Codes, judged by ml_dtypes."""

from __future__ import annotations

import numpy as np
import pytest

from onnxbf.custom_ops import probes
from onnxbf.encoding import code_type, decode, encode
from onnxbf.formats import FLOAT4_E2M1, FLOAT32, FORMATS, Cast, Specials, parse_format
from onnxbf.rounding import round_array
from tests.implementations import same
from tests.stored_types import STORED

SMALL = [name for name, fmt in FORMATS.items() if fmt.bits <= 16]


@pytest.mark.parametrize("name", STORED)
def test_codes_mean_what_ml_dtypes_says(name: str) -> None:
    fmt, stored = FORMATS[name], STORED[name]
    codes = np.arange(2**fmt.bits).astype(code_type(fmt))
    with np.errstate(invalid="ignore"):
        wanted = codes.view(stored).astype(np.float32)
    assert same(decode(codes, fmt), wanted)


@pytest.mark.parametrize("name", STORED)
def test_numbers_get_the_codes_of_ml_dtypes(name: str) -> None:
    fmt, stored = FORMATS[name], STORED[name]
    values = np.concatenate([probes.specials(), probes.boundaries(fmt)])
    numbers = round_array(values[~np.isnan(values)], Cast(fmt))
    numbers = numbers[~np.isnan(numbers)]  # infinities, where there are none
    wanted = numbers.astype(stored).view(code_type(fmt))
    assert (encode(numbers, fmt) == wanted).all()


@pytest.mark.parametrize("name", [*SMALL, "e6m9", "e8m1", "e2m1"])
def test_every_code_comes_back(name: str) -> None:
    """NaNs apart, of which several codes make one."""
    fmt = parse_format(name)
    codes = np.arange(2**fmt.bits).astype(code_type(fmt))
    numbers = decode(codes, fmt)
    known = ~np.isnan(numbers)
    assert (encode(numbers[known], fmt) == codes[known]).all()
    if fmt.specials is not Specials.NONE:
        again = decode(encode(numbers, fmt), fmt)
        assert same(again, numbers)
        assert (np.signbit(again) == np.signbit(numbers)).all()


def test_payloads_of_nans_are_kept_as_far_as_they_fit() -> None:
    nans = np.array([0x7FC10000, 0xFFA00001, 0x7F800001], np.uint32).view(np.float32)
    assert encode(nans, FORMATS["bf16"]).tolist() == [0x7FC1, 0xFFE0, 0x7FC0]
    assert encode(nans, FORMATS["e4m3fn"]).tolist() == [0x7F, 0xFF, 0x7F]


def test_a_nan_needs_a_code() -> None:
    with pytest.raises(ValueError, match="e2m1 has no NaN"):
        encode(np.float32([1, np.nan]), FLOAT4_E2M1)


def test_codes_are_as_small_as_they_can_be() -> None:
    assert code_type(FLOAT4_E2M1) is np.uint8
    assert code_type(FORMATS["bf16"]) is np.uint16
    assert code_type(FLOAT32) is np.uint32


def test_codes_of_float32_are_its_bits() -> None:
    values = probes.upper_halves(0, 0x1234)
    values = values[~np.isnan(values)]
    assert (encode(values, FLOAT32) == values.view(np.uint32)).all()
    assert same(decode(values.view(np.uint32), FLOAT32), values)

"""The codes of a format: the bits that store its numbers, and the numbers that codes stand for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onnxbf.formats import NumberFormat, Specials


def code_type(fmt: NumberFormat) -> type[np.unsignedinteger]:
    """The smallest unsigned NumPy type that holds a code of ``fmt``."""
    return np.uint8 if fmt.bits <= 8 else np.uint16 if fmt.bits <= 16 else np.uint32


def decode(codes: NDArray[np.unsignedinteger], fmt: NumberFormat) -> NDArray[np.float32]:
    """The numbers that ``codes`` (right-aligned, any unsigned type) stand for.

    NaNs keep their sign and, for IEEE formats, their payload, and are quiet.
    """
    codes = np.asarray(codes).astype(np.uint32)
    mantissa = codes & np.uint32(2**fmt.mantissa_bits - 1)
    exponent = codes >> np.uint32(fmt.mantissa_bits) & np.uint32(2**fmt.exponent_bits - 1)
    negative = codes >> np.uint32(fmt.bits - 1) & np.uint32(1) == 1
    significand = mantissa + np.where(exponent > 0, 2.0**fmt.mantissa_bits, 0.0)
    shift = np.maximum(exponent, 1).astype(np.int32) - (fmt.bias + fmt.mantissa_bits)
    magnitude = np.ldexp(significand, shift)
    top = exponent == 2**fmt.exponent_bits - 1
    if fmt.specials is Specials.IEEE:
        magnitude = np.where(top, np.where(mantissa == 0, np.inf, np.nan), magnitude)
    if fmt.specials is Specials.NAN:
        magnitude = np.where(top & (mantissa == 2**fmt.mantissa_bits - 1), np.nan, magnitude)
    numbers = np.where(negative, -magnitude, magnitude).astype(np.float32)
    kept = np.isnan(numbers) & (fmt.specials is Specials.IEEE)
    payload = np.where(kept, mantissa << np.uint32(23 - fmt.mantissa_bits), np.uint32(0))
    result: NDArray[np.float32] = (numbers.view(np.uint32) | payload).view(np.float32)
    return result


def encode(values: NDArray[np.float32], fmt: NumberFormat) -> NDArray[np.unsignedinteger]:
    """The codes of ``values``, all of which must be numbers of ``fmt`` already (round first).

    NaNs keep their sign and, for IEEE formats, the upper bits of their payload.

    Raises:
        ValueError: a NaN for a format that has none.
    """
    values = np.asarray(values, np.float32)
    bits = values.view(np.uint32)
    finite = np.where(np.isfinite(values), np.abs(values), 0).astype(np.float64)
    exponent = np.where(finite == 0, fmt.min_exponent, np.frexp(finite)[1] - 1)
    exponent = np.maximum(exponent, fmt.min_exponent)
    scaled = np.ldexp(finite, fmt.mantissa_bits - exponent).astype(np.int64)  # with implicit bit
    # A subnormal has no implicit bit and the exponent field 0: the sum below gives both.
    code = scaled + ((exponent.astype(np.int64) + fmt.bias - 1) << fmt.mantissa_bits)
    top = (2**fmt.exponent_bits - 1) << fmt.mantissa_bits
    nan = np.isnan(values)
    if nan.any() and fmt.specials is Specials.NONE:
        raise ValueError(f"{fmt} has no NaN")
    payload = bits & np.uint32(0x7FFFFF)
    kept = (payload | np.uint32(0x400000)) >> np.uint32(23 - fmt.mantissa_bits)
    nan_code = top | (kept if fmt.specials is Specials.IEEE else 2**fmt.mantissa_bits - 1)
    code = np.where(nan, nan_code, np.where(np.isinf(values), top, code))
    sign = (bits >> np.uint32(31)).astype(np.int64) << (fmt.bits - 1)
    codes: NDArray[np.unsignedinteger] = (code | sign).astype(code_type(fmt))
    return codes

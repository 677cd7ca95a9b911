"""Casts of every kind as the kernels take them."""

from __future__ import annotations

from onnxbf.block_cast import BlockCast
from onnxbf.custom_ops.library import BlockSpec, CastSpec, RangeSpec, ScaledSpec, load
from onnxbf.errors import UnsupportedError
from onnxbf.formats import Cast, Overflow, Rounding, Specials, Subnormals
from onnxbf.range_cast import Grouping, RangeCast
from onnxbf.scaled_cast import Amax, Scale, ScaledCast


def round_kernel(cast: Cast) -> str:
    """The name of the kernel that rounds as ``cast`` says."""
    name: bytes = load().onnxbf_round_kernel(cast_spec(cast))
    return name.decode()


def cast_spec(cast: Cast) -> CastSpec:
    """``cast`` as the kernels take it.

    Raises:
        UnsupportedError: a format that float32 cannot hold.
    """
    spec = CastSpec(
        exponent_bits=cast.format.exponent_bits,
        mantissa_bits=cast.format.mantissa_bits,
        specials=list(Specials).index(cast.format.specials),
        rounding=list(Rounding).index(cast.rounding),
        flush=cast.subnormals is Subnormals.FLUSH,
        saturate=cast.overflow is Overflow.SATURATE,
        random_bits=cast.random_bits,
    )
    problem: bytes | None = load().onnxbf_problem(spec)
    if problem is not None:
        raise UnsupportedError(f"No kernel rounds to {cast}: {problem.decode()}.")
    return spec


def storage_spec(cast: Cast) -> CastSpec:
    """The same for a format whose numbers are to be stored as codes.

    Raises:
        UnsupportedError: a format that the kernels do not store.
    """
    spec = cast_spec(cast)
    problem: bytes | None = load().onnxbf_storage_problem(spec)
    if problem is not None:
        raise UnsupportedError(f"No kernel stores {cast.format}: {problem.decode()}.")
    return spec


def range_spec(cast: RangeCast) -> RangeSpec:
    """``cast`` as the kernels take it."""
    grouping = list(Grouping).index(cast.grouping)
    return RangeSpec(cast.bits, grouping, cast.exact_zero, cast.stochastic)


def block_spec(cast: BlockCast) -> BlockSpec:
    """``cast`` as the kernels take it, but for its axis."""
    return BlockSpec(
        0 if cast.is_integer else cast.element.exponent_bits,
        cast.element.mantissa_bits,
        list(Specials).index(cast.element.specials),
        list(Rounding).index(cast.rounding),
        cast.block,
    )


def scaled_spec(cast: ScaledCast) -> ScaledSpec:
    """``cast`` as the kernels take it; raises as ``cast_spec``."""
    return ScaledSpec(
        cast_spec(cast.cast),
        cast.history,
        cast.amax is Amax.MOST_RECENT,
        cast.margin,
        cast.scale is Scale.POWER_OF_TWO,
    )

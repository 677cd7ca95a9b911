"""Casts of every kind as attributes of the nodes that round, and back.

A node says in full what it computes: the attributes below define a cast without any table of
names, so a saved model means the same to every reader and every later version.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

from onnxbf.block_cast import INT8, BlockCast, block_name
from onnxbf.formats import (
    FORMATS,
    Cast,
    NumberFormat,
    Overflow,
    Rounding,
    Specials,
    Subnormals,
)
from onnxbf.range_cast import Grouping, RangeCast, range_name
from onnxbf.scaled_cast import Amax, Scale, ScaledCast

Attribute = int | float | str

CAST_DEFAULTS: Mapping[str, Attribute] = {
    "exponent_bits": 8,
    "mantissa_bits": 7,
    "specials": "ieee",
    "rounding": "rne",
    "subnormals": "keep",
    "overflow": "infinity",
    "random_bits": 32,
    "seed": 0,
    "node": 0,
}
RANGE_DEFAULTS: Mapping[str, Attribute] = {
    "bits": 8,
    "grouping": "tensor",
    "zero": "free",
    "rounding": "rne",
    "seed": 0,
    "node": 0,
}
# Elements of 0 exponent bits, and 6 mantissa bits, are integers, times 2^-6.
BLOCK_DEFAULTS: Mapping[str, Attribute] = {
    "exponent_bits": 4,
    "mantissa_bits": 3,
    "specials": "nan",
    "rounding": "rne",
    "block": 32,
    "axis": -1,
    "seed": 0,
    "node": 0,
}
# They saturate, so there is no choice for overflow.
SCALED_DEFAULTS: Mapping[str, Attribute] = {
    "exponent_bits": 4,
    "mantissa_bits": 3,
    "specials": "nan",
    "rounding": "rne",
    "subnormals": "keep",
    "random_bits": 32,
    "margin": 0,
    "scale": "fp32",
    "seed": 0,
    "node": 0,
}
DELAYED_DEFAULTS: Mapping[str, Attribute] = {**SCALED_DEFAULTS, "history": 1024, "amax": "max"}
_OF_CAST = (
    "exponent_bits",
    "mantissa_bits",
    "specials",
    "rounding",
    "subnormals",
    "random_bits",
)


def cast_attributes(cast: Cast, *, seed: int = 0, node: int = 0) -> dict[str, Attribute]:
    """The attributes, those at their default left out, that make a node round as ``cast`` says.

    ``seed`` and ``node`` are written for stochastic rounding alone: nothing else reads them.
    """
    stochastic = cast.rounding is Rounding.STOCHASTIC
    return dict(_attributes(cast, seed if stochastic else 0, node if stochastic else 0))


@functools.lru_cache(maxsize=256)  # a model rounds thousands of tensors alike
def _attributes(cast: Cast, seed: int, node: int) -> dict[str, Attribute]:
    values: dict[str, Attribute] = {
        "exponent_bits": cast.format.exponent_bits,
        "mantissa_bits": cast.format.mantissa_bits,
        "specials": cast.format.specials.value,
        "rounding": cast.rounding.value,
        "subnormals": cast.subnormals.value,
        "overflow": cast.overflow.value,
        "random_bits": cast.random_bits,
        "seed": seed,
        "node": node,
    }
    return {key: value for key, value in values.items() if value != CAST_DEFAULTS[key]}


def attributes_cast(attributes: Mapping[str, Attribute]) -> Cast:
    """The cast that a node with these attributes applies (``seed`` and ``node`` are not part)."""
    full = {**CAST_DEFAULTS, **attributes}
    return Cast(
        _format(
            int(full["exponent_bits"]), int(full["mantissa_bits"]), Specials(str(full["specials"]))
        ),
        Rounding(str(full["rounding"])),
        Subnormals(str(full["subnormals"])),
        Overflow(str(full["overflow"])),
        int(full["random_bits"]),
    )


def range_attributes(cast: RangeCast, *, seed: int = 0, node: int = 0) -> dict[str, Attribute]:
    """The attributes of a QuantizeRange node, as ``cast_attributes`` gives those of others."""
    values: dict[str, Attribute] = {
        "bits": cast.bits,
        "grouping": cast.grouping.value,
        "zero": "exact" if cast.exact_zero else "free",
        "rounding": "sr" if cast.stochastic else "rne",
        "seed": seed if cast.stochastic else 0,
        "node": node if cast.stochastic else 0,
    }
    return {key: value for key, value in values.items() if value != RANGE_DEFAULTS[key]}


def attributes_range(attributes: Mapping[str, Attribute]) -> RangeCast:
    """The quantizer that a node with these attributes applies.

    Raises:
        SpecError: bits that are not from 2 to 8. ValueError: another unknown value.
    """
    full = {**RANGE_DEFAULTS, **attributes}
    grouping, stochastic = Grouping(str(full["grouping"])), full["rounding"] == "sr"
    exact_zero = full["zero"] == "exact"
    name = range_name(grouping, stochastic=stochastic, exact_zero=exact_zero)
    return RangeCast(name or "QuantizeRange", int(full["bits"]), grouping, stochastic, exact_zero)


def block_attributes(cast: BlockCast, *, seed: int = 0, node: int = 0) -> dict[str, Attribute]:
    """The attributes of a QuantizeBlocks node, as ``cast_attributes`` gives those of others."""
    values: dict[str, Attribute] = {
        "exponent_bits": 0 if cast.is_integer else cast.element.exponent_bits,
        "mantissa_bits": cast.element.mantissa_bits,
        "specials": cast.element.specials.value,
        "rounding": cast.rounding.value,
        "block": cast.block,
        "axis": cast.axis,
        "seed": seed if cast.stochastic else 0,
        "node": node if cast.stochastic else 0,
    }
    return {key: value for key, value in values.items() if value != BLOCK_DEFAULTS[key]}


def attributes_block(attributes: Mapping[str, Attribute]) -> BlockCast:
    """The block format that a node with these attributes applies.

    Raises:
        SpecError: a block of no elements, or a rounding that block formats do not have.
        ValueError: another unknown value.
    """
    full = {**BLOCK_DEFAULTS, **attributes}
    exponent_bits, mantissa_bits = int(full["exponent_bits"]), int(full["mantissa_bits"])
    if exponent_bits == 0 and mantissa_bits != INT8.mantissa_bits:
        raise ValueError(f"integers of {mantissa_bits} mantissa_bits are not known")
    specials = Specials(str(full["specials"]))
    element = INT8 if exponent_bits == 0 else _format(exponent_bits, mantissa_bits, specials)
    rounding, block = Rounding(str(full["rounding"])), int(full["block"])
    name = block_name(element) or "QuantizeBlocks"
    return BlockCast(name, element, rounding, block, int(full["axis"]))


def scaled_attributes(cast: ScaledCast, *, seed: int = 0, node: int = 0) -> dict[str, Attribute]:
    """The attributes of a QuantizeScaled or QuantizeDelayed node."""
    values: dict[str, Attribute] = {
        "exponent_bits": cast.cast.format.exponent_bits,
        "mantissa_bits": cast.cast.format.mantissa_bits,
        "specials": cast.cast.format.specials.value,
        "rounding": cast.cast.rounding.value,
        "subnormals": cast.cast.subnormals.value,
        "random_bits": cast.cast.random_bits,
        "margin": cast.margin,
        "scale": cast.scale.value,
        "seed": seed if cast.stochastic else 0,
        "node": node if cast.stochastic else 0,
    }
    defaults = SCALED_DEFAULTS
    if cast.history:
        values |= {"history": cast.history, "amax": cast.amax.value}
        defaults = DELAYED_DEFAULTS
    return {key: value for key, value in values.items() if value != defaults[key]}


def attributes_scaled(attributes: Mapping[str, Attribute]) -> ScaledCast:
    """The cast of a QuantizeScaled node; SpecError, ValueError: attributes that name none."""
    return _scaled({**SCALED_DEFAULTS, **attributes, "history": 0, "amax": "max"})


def attributes_delayed(attributes: Mapping[str, Attribute]) -> ScaledCast:
    """The cast of a QuantizeDelayed node; SpecError, ValueError: attributes that name none."""
    full = {**DELAYED_DEFAULTS, **attributes}
    if int(full["history"]) < 1:
        raise ValueError(f"attribute 'history' is {full['history']}, but must be from 1")
    return _scaled(full)


def _scaled(full: Mapping[str, Attribute]) -> ScaledCast:
    plain = {key: value for key, value in full.items() if key in _OF_CAST}
    return ScaledCast(
        attributes_cast({**plain, "overflow": Overflow.SATURATE.value}),
        int(full["history"]),
        Amax(str(full["amax"])),
        int(full["margin"]),
        Scale(str(full["scale"])),
    )


def _format(exponent_bits: int, mantissa_bits: int, specials: Specials) -> NumberFormat:
    wanted = (exponent_bits, mantissa_bits, specials)
    for fmt in FORMATS.values():
        if (fmt.exponent_bits, fmt.mantissa_bits, fmt.specials) == wanted:
            return fmt
    suffix = {Specials.IEEE: "", Specials.NAN: "fn", Specials.NONE: "f"}[specials]
    return NumberFormat(f"e{exponent_bits}m{mantissa_bits}{suffix}", *wanted)

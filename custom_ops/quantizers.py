"""Which operator rounds as a cast says, and which cast a node of such an operator applies."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from onnxbf.block_cast import BlockCast
from onnxbf.casts import AnyCast
from onnxbf.custom_ops.registry import (
    DELAYED_DEFAULTS,
    SCALED_DEFAULTS,
    Attribute,
    attributes_block,
    attributes_cast,
    attributes_range,
    block_attributes,
    cast_attributes,
    range_attributes,
)
from onnxbf.formats import Overflow
from onnxbf.range_cast import RangeCast
from onnxbf.scaled_cast import Amax, Scale, ScaledCast

SCALED, DELAYED = "QuantizeScaled", "QuantizeDelayed"


def quantizer(
    cast: AnyCast, *, seed: int = 0, node: int = 0
) -> tuple[str, Mapping[str, Attribute]]:
    """The operator that rounds as ``cast`` says, and its attributes, those at defaults left out.

    ``seed`` and ``node`` are written for stochastic rounding alone: nothing else reads them.
    """
    if isinstance(cast, RangeCast):
        return "QuantizeRange", range_attributes(cast, seed=seed, node=node)
    if isinstance(cast, BlockCast):
        return "QuantizeBlocks", block_attributes(cast, seed=seed, node=node)
    if isinstance(cast, ScaledCast):
        attributes = scaled_attributes(cast, seed=seed, node=node)
        return DELAYED if cast.history else SCALED, attributes
    return "QuantizeDequantize", cast_attributes(cast, seed=seed, node=node)


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


_OF_CAST = (
    "exponent_bits",
    "mantissa_bits",
    "specials",
    "rounding",
    "subnormals",
    "random_bits",
)
_READERS: Mapping[str, Callable[[Mapping[str, Attribute]], AnyCast]] = {
    "QuantizeDequantize": attributes_cast,
    "QuantizeDequantizeObserved": attributes_cast,
    "Quantize": attributes_cast,
    SCALED: attributes_scaled,
    DELAYED: attributes_delayed,
    "QuantizeRange": attributes_range,
    "QuantizeBlocks": attributes_block,
}
QUANTIZERS = frozenset(_READERS)  # the operators of our domain that round what they are given


def applied_cast(op_type: str, attributes: Mapping[str, Attribute]) -> AnyCast | None:
    """What a node of our domain rounds to; None for operators that compute or restore.

    Raises:
        SpecError, ValueError: attributes that name no cast.
    """
    reader = _READERS.get(op_type)
    return None if reader is None else reader(attributes)

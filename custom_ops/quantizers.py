"""Which operator rounds as a cast says, and which cast a node of such an operator applies."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from onnxbf.block_cast import BlockCast
from onnxbf.casts import AnyCast
from onnxbf.custom_ops.attributes import (
    Attribute,
    attributes_block,
    attributes_cast,
    attributes_delayed,
    attributes_range,
    attributes_scaled,
    block_attributes,
    cast_attributes,
    range_attributes,
    scaled_attributes,
)
from onnxbf.range_cast import RangeCast
from onnxbf.scaled_cast import ScaledCast

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

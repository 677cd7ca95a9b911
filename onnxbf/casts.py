"""All that a role of a recipe can name: casts, quantizers over ranges, block formats."""

from __future__ import annotations

from onnxbf.block_cast import BlockCast, is_block_cast, parse_block_cast
from onnxbf.formats import Cast, parse_cast
from onnxbf.range_cast import RangeCast, is_range_cast, parse_range_cast
from onnxbf.scaled_cast import ScaledCast, is_scaled_cast, parse_scaled_cast

AnyCast = Cast | ScaledCast | RangeCast | BlockCast


def parse_any_cast(text: str) -> AnyCast:
    """The one that prints as ``text``.

    Raises:
        NameUnknown, SpecError: as its own parser does.
    """
    if is_block_cast(text):
        return parse_block_cast(text)
    if is_range_cast(text):
        return parse_range_cast(text)
    return parse_scaled_cast(text) if is_scaled_cast(text) else parse_cast(text)

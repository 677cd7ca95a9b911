"""What a study claims, and what it found."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from onnxbf.spec import TextEnum


class Side(TextEnum):
    """Where a measured number must lie."""

    AT_MOST = "at most"
    AT_LEAST = "at least"
    BELOW = "below"
    ABOVE = "above"


_HOLDS: Mapping[Side, Callable[[float, float], bool]] = {
    Side.AT_MOST: operator.le,
    Side.AT_LEAST: operator.ge,
    Side.BELOW: operator.lt,
    Side.ABOVE: operator.gt,
}


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence that one measured number decides.

    Attributes:
        name: unique within a study.
        text: what is claimed, and what the number is.
        side: where the number must lie.
        limit: of the number.
    """

    name: str
    text: str
    side: Side
    limit: float


@dataclass(frozen=True, slots=True)
class Finding:
    """A claim and the number that was measured for it; NaN decides against the claim."""

    claim: Claim
    measured: float

    @property
    def passed(self) -> bool:
        limit = self.claim.limit
        if math.isnan(self.measured):
            return False
        return _HOLDS[self.claim.side](self.measured, limit)

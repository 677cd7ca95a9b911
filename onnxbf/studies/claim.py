"""What a study claims, and what it found."""

from __future__ import annotations

import math
from dataclasses import dataclass

from onnxbf.spec import TextEnum


class Side(TextEnum):
    """Where a measured number must lie."""

    AT_MOST = "at most"
    AT_LEAST = "at least"
    BELOW = "below"


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
        if self.claim.side is Side.BELOW:
            return self.measured < limit
        if self.claim.side is Side.AT_MOST:
            return self.measured <= limit
        return self.measured >= limit

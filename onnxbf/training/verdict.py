"""How two lanes of a run compare: final and best scores, and whether the seeds explain the rest."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from onnxbf.training.lane import Scores

History = Sequence[Scores]


@dataclass(frozen=True, slots=True)
class Summary:
    """One score of one lane, over the seeds."""

    final: tuple[float, ...]
    best: tuple[float, ...]

    @property
    def mean_final(self) -> float:
        return statistics.fmean(self.final)

    @property
    def mean_best(self) -> float:
        return statistics.fmean(self.best)


@dataclass(frozen=True, slots=True)
class Contrast:
    """One score of a lane beside the same of its baseline.

    Attributes:
        difference: of the final means, lane less baseline.
        noise: twice the standard error of that difference over the seeds; None with one seed.
    """

    score: str
    better: str
    lane: Summary
    baseline: Summary
    difference: float
    noise: float | None

    @property
    def within_noise(self) -> bool | None:
        """Whether the seeds explain the difference; None where they cannot say."""
        return None if self.noise is None else abs(self.difference) <= self.noise

    @property
    def worse(self) -> bool:
        """Whether the lane ends on the wrong side of its baseline."""
        if math.isnan(self.difference):
            return True
        return self.difference < 0 if self.better == "higher" else self.difference > 0


def summarize(histories: Sequence[History], score: str, better: str) -> Summary:
    """A score at the end, and at its best, of each seed's history."""
    pick = max if better == "higher" else min
    values = [[scores[score] for scores in history] for history in histories]
    return Summary(
        tuple(row[-1] for row in values),
        tuple(pick((v for v in row if not math.isnan(v)), default=math.nan) for row in values),
    )


def contrast(
    lane: Sequence[History], baseline: Sequence[History], score: str, better: str
) -> Contrast:
    """A lane beside its baseline; both have a history for each seed."""
    mine, theirs = (summarize(side, score, better) for side in (lane, baseline))
    return Contrast(
        score, better, mine, theirs, mine.mean_final - theirs.mean_final, _noise(mine, theirs)
    )


def _noise(first: Summary, second: Summary) -> float | None:
    """Twice the standard error of a difference of means, the variances not pooled (Welch)."""
    count = len(first.final)
    if count < 2:
        return None
    return 2 * math.sqrt(sum(statistics.variance(side.final) for side in (first, second)) / count)


def record(
    summaries: Mapping[str, Mapping[str, Summary]], contrasts: Sequence[Contrast]
) -> dict[str, Any]:
    """All of it for a JSON file."""
    return {
        "lanes": {
            lane: {score: asdict(summary) for score, summary in scores.items()}
            for lane, scores in summaries.items()
        },
        "contrasts": [
            {
                "score": item.score,
                "difference": item.difference,
                "noise": item.noise,
                "within_noise": item.within_noise,
            }
            for item in contrasts
        ],
    }

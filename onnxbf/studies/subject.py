"""A network that is trained in float32 and rounded, and the test of whether both are as good."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnxbf.studies.claim import Claim, Side
from onnxbf.studies.study import Number, Row

Scores = Mapping[str, Number]
PLAIN = "none"  # the recipe that rounds nothing
_SEEDS = 3  # whose mean the spread is of; more seeds make the test stricter, fewer not laxer


@dataclass(frozen=True, slots=True)
class Floor:
    """What a score must reach in every training, which shows that the network learned."""

    score: str
    side: Side
    limit: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A network, its data, and what is judged.

    Attributes:
        name: of its claims.
        about: the domain and the network.
        train: scores on test data by recipe and seed.
        score: the one that is compared.
        allowed: the difference of means that is none; with ``relative``, as a share.
        floors: see ``Floor``.
    """

    name: str
    about: str
    train: Callable[[str, int], Scores]
    score: str
    allowed: float
    relative: bool = False
    floors: Sequence[Floor]

    @property
    def claims(self) -> Sequence[Claim]:
        """Equivalence, then the floors."""
        unit = "of it" if self.relative else f"of {self.score}"
        return (
            Claim(
                self.name,
                f"{self.about}: difference of mean {self.score}, over what is allowed "
                f"({self.allowed:g} {unit}, or 2 standard errors)",
                Side.AT_MOST,
                1.0,
            ),
            *(
                Claim(
                    f"{self.name} {floor.score}",
                    f"the worst {floor.score} of all its trainings",
                    floor.side,
                    floor.limit,
                )
                for floor in self.floors
            ),
        )

    def rows(self, recipe: str, seed: int) -> list[Row]:
        """Train once."""
        scores = self.train(recipe, seed)
        kept = dict.fromkeys((self.score, *(floor.score for floor in self.floors)))
        chosen = {name: scores[name] for name in kept}
        head: dict[str, str | Number] = {
            "network": self.name,
            "recipe": recipe,
            "seed": seed,
            "metric": self.score,
        }
        return [{**head, "score": scores[self.score], **chosen}]

    def judge(self, rows: Sequence[Row], recipe: str) -> Mapping[str, float]:
        """The number for every claim, from rows of this network."""
        plain, rounded = (
            [float(row["score"]) for row in rows if row["recipe"] == each]
            for each in (PLAIN, recipe)
        )
        found = {self.name: abs(statistics.mean(rounded) - statistics.mean(plain))}
        found[self.name] /= self.margin(plain)
        for floor in self.floors:
            worst = np.min if floor.side is Side.AT_LEAST else np.max  # NaN, where there is one
            reached = worst([float(row[floor.score]) for row in rows])
            found[f"{self.name} {floor.score}"] = float(reached)
        return found

    def margin(self, plain: Sequence[float]) -> float:
        """The difference of means that counts as none, by the spread in float32 alone."""
        least = self.allowed * (abs(statistics.mean(plain)) if self.relative else 1)
        if len(plain) == 1:
            return least
        error = statistics.stdev(plain) / math.sqrt(max(len(plain), _SEEDS))
        return max(2 * error, least)

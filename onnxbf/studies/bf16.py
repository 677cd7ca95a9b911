"""Study ``bf16``: networks of five domains, trained rounded, are as good as in float32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from onnxbf.recipe import load_recipe
from onnxbf.studies.chart import Chart
from onnxbf.studies.claim import Claim
from onnxbf.studies.domains_generative import GENERATIVE
from onnxbf.studies.domains_image import IMAGES
from onnxbf.studies.domains_language import LANGUAGE
from onnxbf.studies.domains_recommender import RECOMMENDERS
from onnxbf.studies.domains_speech import SPEECH
from onnxbf.studies.study import Cell, Effort, Row, Study, means
from onnxbf.studies.subject import PLAIN, Subject
from onnxbf.studies.task import digits

SUBJECTS: Sequence[Subject] = (*IMAGES, *SPEECH, *LANGUAGE, *GENERATIVE, *RECOMMENDERS)


@dataclass(frozen=True, kw_only=True)
class Bf16(Study):
    """The same networks, steps and hyper-parameters in float32 and under a recipe.

    Args:
        recipe: what must be as good as float32.
    """

    name: ClassVar[str] = "bf16"
    source: ClassVar[str] = "Kalamkar et al. 2019, A Study of BFLOAT16 (arXiv 1905.12322)"
    about: ClassVar[str] = "in five domains BF16 trains as float32 does, with nothing tuned"
    seeds: ClassVar[tuple[int, int]] = (3, 2)
    subjects: ClassVar[Sequence[Subject]] = SUBJECTS
    claims: ClassVar[Sequence[Claim]] = tuple(
        claim for subject in SUBJECTS for claim in subject.claims
    )
    charts: ClassVar[Sequence[Chart]] = (
        Chart("scores", "Each network's own score", "network", "score", "recipe", log=True),
    )

    recipe: str = "bf16"

    def cells(self, effort: Effort) -> Sequence[Cell]:
        load_recipe(self.recipe)
        digits()  # before anything is trained: scikit-learn may be missing
        return [
            Cell(f"{subject.name} {recipe} seed {seed}", partial(subject.rows, recipe, seed))
            for subject in self.subjects
            for recipe in (PLAIN, self.recipe)
            for seed in range(effort.seeds)
        ]

    def judge(self, rows: Sequence[Row]) -> Mapping[str, float]:
        found: dict[str, float] = {}
        for subject in self.subjects:
            mine = [row for row in rows if row["network"] == subject.name]
            found |= subject.judge(mine, self.recipe)
        return found

    def table(self, rows: Sequence[Row]) -> Sequence[Row]:
        return means(rows, ("network", "metric", "recipe"), ("score",))

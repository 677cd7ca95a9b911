"""Study ``bf16``: networks of five domains, trained rounded, are as good as in float32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from onnxbf.recipe import load_recipe
from onnxbf.studies.chart import Chart
from onnxbf.studies.claim import Claim
from onnxbf.studies.domains_generative import GENERATIVE
from onnxbf.studies.domains_image import image_subjects
from onnxbf.studies.domains_language import LANGUAGE
from onnxbf.studies.domains_recommender import click_subjects
from onnxbf.studies.domains_speech import speech_subjects
from onnxbf.studies.real_data import open_folder, subjects_on
from onnxbf.studies.study import Cell, Effort, Row, Study, means
from onnxbf.studies.subject import PLAIN, Subject

SUBJECTS: Sequence[Subject] = (
    *image_subjects(),
    *speech_subjects(),
    *LANGUAGE,
    *GENERATIVE,
    *click_subjects(),
)


@dataclass(frozen=True, kw_only=True)
class Bf16(Study):
    """The same networks, steps and hyper-parameters in float32 and under a recipe.

    Args:
        recipe: what must be as good as float32.
        data: a folder of real data, see ``open_folder``; the networks of its domain alone are then
            trained, and judged by floors that fit it.
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
    packages: ClassVar[Sequence[str]] = ("sklearn",)

    recipe: str = "bf16"
    data: str = ""

    def chosen(self) -> Sequence[Subject]:
        """The networks that are trained."""
        return subjects_on(open_folder(Path(self.data))) if self.data else self.subjects

    def needs(self) -> Sequence[str]:
        return () if self.data else self.packages

    def judged(self) -> Sequence[Claim]:
        return [claim for subject in self.chosen() for claim in subject.claims]

    def cells(self, effort: Effort) -> Sequence[Cell]:
        load_recipe(self.recipe)
        return [
            Cell(f"{subject.name} {recipe} seed {seed}", partial(subject.rows, recipe, seed))
            for subject in self.chosen()
            for recipe in (PLAIN, self.recipe)
            for seed in range(effort.seeds)
        ]

    def judge(self, rows: Sequence[Row]) -> Mapping[str, float]:
        found: dict[str, float] = {}
        for subject in self.chosen():
            mine = [row for row in rows if row["network"] == subject.name]
            found |= subject.judge(mine, self.recipe)
        return found

    def table(self, rows: Sequence[Row]) -> Sequence[Row]:
        return means(rows, ("network", "metric", "recipe"), ("score",))

"""Study ``mx``: what blocks with a shared exponent lose, and that networks train in them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from onnxbf.block_cast import BlockCast, parse_block_cast
from onnxbf.custom_ops.kernels import kernels
from onnxbf.custom_ops.library import instruction_sets
from onnxbf.studies.chart import Chart
from onnxbf.studies.claim import Claim, Side
from onnxbf.studies.domains_language import text, transformer
from onnxbf.studies.learning import Plan, scores
from onnxbf.studies.networks import digits_mlp
from onnxbf.studies.study import Cell, Effort, Row, Study, means
from onnxbf.studies.subject import PLAIN, Floor, Scores, Subject
from onnxbf.studies.task import digits
from onnxbf.training.class_metrics import Accuracy

Array = NDArray[Any]
Quantize = Callable[[Array, BlockCast], Array]
FORMATS = ("mxfp8", "mxfp8{format=e5m2}", "mxfp6", "mxfp6{format=e2m3}", "mxfp4", "mxint8")
NEAR = ("mxfp8", "mxint8")  # recipes that train as float32 does
FEWER, FEWEST = "mxfp6", "mxfp4"
BLOCKS, BLOCK = 4096, 32
DIGITS, TEXT = Plan(epochs=12, rate=0.002), Plan(epochs=1, rate=0.006)
GUESSING, PAIRS = math.log(10), 3.58 * math.log(2)  # losses: of no digit known, of pairs counted
_NOTHING = 1e-6  # of loss added: what divides instead, where less was
_SEEDS = 3  # of the perceptron, which trains in half a second


def by_kernels(x: Array, cast: BlockCast) -> Array:
    """``x`` in a block format, and brought back."""
    return kernels(instruction_sets()[-1]).quantize_blocks(x, cast)


def _classify(recipe: str, seed: int) -> Scores:
    metrics = {"accuracy": Accuracy}
    found = scores(digits_mlp(seed), "cross-entropy", digits(), DIGITS, metrics, recipe, seed)
    return {"accuracy": found["accuracy"], "loss": found["validation_loss"]}


def _predict(recipe: str, seed: int) -> Scores:
    found = scores(transformer(seed), "cross-entropy", text(), TEXT, {}, recipe, seed)
    loss = found["validation_loss"]
    return {"bits": loss / math.log(2), "loss": loss}


SUBJECTS: Sequence[Subject] = (
    Subject(
        name="digits",
        about="a perceptron on digits",
        train=_classify,
        score="accuracy",
        allowed=0.01,
        floors=(Floor("loss", Side.AT_MOST, GUESSING / 10),),
    ),
    Subject(
        name="transformer",
        about="a transformer on text",
        train=_predict,
        score="bits",
        allowed=0.01,
        relative=True,
        floors=(Floor("loss", Side.AT_MOST, PAIRS),),
    ),
)


def _claims_of(subject: Subject) -> list[Claim]:
    equal, learned = subject.claims
    return [
        *(
            Claim(f"{recipe} {subject.name}", equal.text, equal.side, equal.limit)
            for recipe in NEAR
        ),
        replace(learned, text=f"the worst loss of all its trainings but those in {FEWEST}"),
        Claim(
            f"{FEWEST} {subject.name}",
            f"{subject.about}: what {FEWEST} adds to the loss, over what {FEWER} adds",
            Side.AT_LEAST,
            2,
        ),
    ]


@dataclass(frozen=True, kw_only=True)
class Microscaling(Study):
    """Normal numbers in every block format; two networks in float32 and in blocks throughout."""

    name: ClassVar[str] = "mx"
    source: ClassVar[str] = (
        "OCP Microscaling Formats (MX) 1.0; Rouhani et al. 2023, Microscaling Data Formats for "
        "Deep Learning (arXiv 2310.10537)"
    )
    about: ClassVar[str] = "blocks that share an exponent train as float32 does, with 8 bits"
    claims: ClassVar[Sequence[Claim]] = (
        Claim(
            "bound",
            "error over half the spacing there, or over what lies above the largest element",
            Side.AT_MOST,
            1,
        ),
        Claim(
            "noise least", "mean squared error over spacing^2 / 12, the least", Side.AT_LEAST, 0.95
        ),
        Claim("noise most", "and the most", Side.AT_MOST, 1.05),
        *(claim for subject in SUBJECTS for claim in _claims_of(subject)),
    )
    charts: ClassVar[Sequence[Chart]] = (
        Chart("noise", "Signal over noise, in decibels", "format", "decibels", "elements"),
        Chart("losses", "Loss on test data", "network", "loss", "recipe"),
    )
    packages: ClassVar[Sequence[str]] = ("sklearn",)

    def cells(self, effort: Effort) -> Sequence[Cell]:
        seeds = {"digits": max(effort.seeds, _SEEDS), "transformer": effort.seeds}
        return (
            *(
                Cell(f"errors of {name}", partial(_errors, name, self.quantizer()))
                for name in FORMATS
            ),
            *(
                Cell(f"{subject.name} {recipe} seed {seed}", partial(subject.rows, recipe, seed))
                for subject in SUBJECTS
                for recipe in (PLAIN, *NEAR, FEWER, FEWEST)
                for seed in range(seeds[subject.name])
            ),
        )

    def quantizer(self) -> Quantize:
        """What brings numbers into a format."""
        return by_kernels

    def judge(self, rows: Sequence[Row]) -> Mapping[str, float]:
        errors = [row for row in rows if "format" in row]
        noise = [float(row["noise"]) for row in errors]
        found = {
            "bound": float(np.max([float(row["bound"]) for row in errors])),
            "noise least": min(noise),
            "noise most": max(noise),
        }
        loss = {(r["network"], r["recipe"]): float(r["loss"]) for r in self.table(rows)}
        for subject in SUBJECTS:
            mine = [r for r in rows if r.get("network") == subject.name and r["recipe"] != FEWEST]
            verdicts = {recipe: subject.judge(mine, recipe) for recipe in NEAR}
            found |= {f"{recipe} {subject.name}": v[subject.name] for recipe, v in verdicts.items()}
            found[f"{subject.name} loss"] = verdicts[NEAR[0]][f"{subject.name} loss"]
            fewer, fewest = (
                loss[subject.name, recipe] - loss[subject.name, PLAIN] for recipe in (FEWER, FEWEST)
            )
            found[f"{FEWEST} {subject.name}"] = fewest / max(fewer, _NOTHING)
        return found

    def table(self, rows: Sequence[Row]) -> Sequence[Row]:
        trained = [row for row in rows if "network" in row]
        return means(trained, ("network", "metric", "recipe"), ("score", "loss"))

    def remarks(self, rows: Sequence[Row]) -> Sequence[str]:
        return [
            f"{row['format']}: {float(row['decibels']):.1f} dB above its noise, for normal numbers."
            for row in rows
            if "format" in row
        ]


def _errors(name: str, quantize: Quantize) -> list[Row]:
    """What is lost of normal numbers, against what the specification leaves.

    A block is scaled by the power of two that gives its largest number the exponent of the largest
    element. A number then lies between two elements, and no farther from the nearest than half of
    their spacing, or it lies above the largest, which it becomes.
    """
    cast = parse_block_cast(name)
    x = np.random.default_rng(0).normal(size=(BLOCKS, BLOCK)).astype(np.float32)
    exponents = np.frexp(np.abs(x).max(1, keepdims=True))[1] - 1
    scale = np.ldexp(1.0, exponents - cast.max_exponent)
    magnitude = np.abs(x) / scale
    lost = np.abs(quantize(x, cast).astype(np.float64) - x) / scale
    binades = np.maximum(np.frexp(magnitude)[1] - 1, cast.element.min_exponent)
    spacing = np.ldexp(cast.element.eps, binades)
    within = magnitude <= cast.max
    square = np.square(lost)
    return [
        {
            "format": name,
            "elements": str(cast.element),
            "bound": float((lost / np.maximum(spacing / 2, magnitude - cast.max)).max()),
            "noise": float(square[within].mean() / (np.square(spacing[within]).mean() / 12)),
            "decibels": float(
                10 * np.log10(np.square(magnitude * scale).mean() / (square * scale**2).mean())
            ),
        }
    ]

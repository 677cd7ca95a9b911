"""Study ``range``: where float16 needs the loss to be scaled, bfloat16 does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from onnxbf.custom_ops.numpy_api import quantize
from onnxbf.recipe import load_recipe
from onnxbf.studies.chart import Chart
from onnxbf.studies.claim import Claim, Side
from onnxbf.studies.learning import learn
from onnxbf.studies.networks import digits_mlp
from onnxbf.studies.study import Cell, Effort, Row, Study, means
from onnxbf.studies.task import digits
from onnxbf.training.class_metrics import Accuracy
from onnxbf.training.graphs import build_graphs
from onnxbf.training.transitions import Constant

Array = NDArray[Any]
EPOCHS, RATE, FAR, BACK = 20, 0.05, 20, 12
_POWERS = (0, 8, 24, 60)
_SAMPLES = 2**22


@dataclass(frozen=True, kw_only=True)
class Range(Study):
    """A perceptron on digits whose loss is multiplied by 2^-k, which the update undoes.

    In exact arithmetic that changes nothing. Beside it: the bias of rounding and of truncation.

    Args:
        recipe: the wide format, which must not notice.
        narrow: the one that must.
    """

    name: ClassVar[str] = "range"
    source: ClassVar[str] = "Kalamkar et al. 2019, A Study of BFLOAT16 (arXiv 1905.12322)"
    about: ClassVar[str] = "FP16 needs loss scaling, BF16 does not; truncation is biased"
    claims: ClassVar[Sequence[Claim]] = (
        Claim(
            "A3 bits",
            "BF16 under the loss times 2^-k, k of 0, 8, 24, 60: final weights that differ",
            Side.AT_MOST,
            0,
        ),
        Claim("A3 narrow", "FP16 under 2^-20: accuracy", Side.BELOW, 0.2),
        Claim(
            "A3 scaled",
            "FP16 under 2^-20 and a loss scale of 2^12: points of accuracy below float32",
            Side.AT_MOST,
            1.0,
        ),
        Claim("bias rne", "the mean error of rounding to nearest, in its sigma", Side.AT_MOST, 4),
        Claim(
            "bias rtz",
            "that of truncation, in units in the last place: distance from -1/2",
            Side.AT_MOST,
            0.001,
        ),
    )
    charts: ClassVar[Sequence[Chart]] = (
        Chart("accuracy", "Accuracy where the loss is times 2^-k", "k", "accuracy", "recipe"),
    )
    packages: ClassVar[Sequence[str]] = ("sklearn",)

    recipe: str = "bf16"
    narrow: str = "fp16"

    def cells(self, effort: Effort) -> Sequence[Cell]:
        for recipe in (self.recipe, self.narrow):
            load_recipe(recipe)
        runs = [("none", FAR), (self.narrow, FAR), (self.narrow, FAR - BACK)]
        trained = [
            Cell(f"{recipe} 2^-{power} seed {seed}", partial(_row, recipe, power, seed))
            for recipe, power in runs
            for seed in range(effort.seeds)
        ]
        same = [
            Cell(f"{self.recipe} bits seed {seed}", partial(_same_bits, self.recipe, seed))
            for seed in range(effort.seeds)
        ]
        return (Cell("bias", _bias), *same, *trained)

    def judge(self, rows: Sequence[Row]) -> Mapping[str, float]:
        mean = {(r["recipe"], r["k"]): float(r["accuracy"]) for r in self.table(rows)}
        narrow, scaled = (mean[self.narrow, power] for power in (FAR, FAR - BACK))
        bias = {str(row["check"]): float(row["value"]) for row in rows if "check" in row}
        return {
            **bias,
            "A3 bits": sum(float(row.get("differing", 0)) for row in rows),
            "A3 narrow": narrow,
            "A3 scaled": 100 * (mean["none", FAR] - scaled),
        }

    def table(self, rows: Sequence[Row]) -> Sequence[Row]:
        trained = [row for row in rows if "accuracy" in row]
        return means(trained, ("recipe", "k"), ("accuracy", "loss"))


def _train(recipe: str, power: int, seed: int) -> tuple[Row, dict[str, Array]]:
    graphs = build_graphs(digits_mlp(seed), "cross-entropy", "momentum")
    learned = learn(
        graphs,
        digits(),
        Constant(value=RATE),
        EPOCHS,
        {"accuracy": Accuracy},
        recipe=recipe,
        seed=seed,
        loss_scale=2.0**-power,
    )
    row: Row = {"recipe": recipe, "k": power, "seed": seed, **learned.last}
    return row, learned.trainer.state()


def _row(recipe: str, power: int, seed: int) -> list[Row]:
    return [_train(recipe, power, seed)[0]]


def _same_bits(recipe: str, seed: int) -> list[Row]:
    rows: list[Row] = []
    plain: dict[str, Array] = {}
    for power in _POWERS:
        row, state = _train(recipe, power, seed)
        state = {name: array.view(np.uint32) for name, array in state.items()}
        plain = plain or state
        differing = sum(np.count_nonzero(bits != plain[name]) for name, bits in state.items())
        rows.append({**row, "differing": int(differing)})
    return rows


def _bias() -> list[Row]:
    """Mean errors over numbers whose mantissa is uniform, in units in the last place of BF16."""
    x = np.random.default_rng(0).uniform(1, 2, _SAMPLES).astype(np.float32)
    place = 2.0**-7
    nearest, truncated = ((quantize(x, f"bf16:{r}") - x).astype(np.float64) for r in ("rne", "rtz"))
    sigma = place / np.sqrt(12 * _SAMPLES)
    return [
        {"check": "bias rne", "value": float(abs(nearest.mean()) / sigma)},
        {"check": "bias rtz", "value": float(abs(truncated.mean() / place + 0.5))},
    ]

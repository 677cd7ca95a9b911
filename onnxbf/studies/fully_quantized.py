"""Study ``fqt``: gradients of few bits, unbiased, and where their variance goes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxbf.custom_ops.kernels import kernels
from onnxbf.custom_ops.library import RandomKey, instruction_sets
from onnxbf.protos import to_proto
from onnxbf.range_cast import RangeCast, parse_range_cast
from onnxbf.range_quantizer import make_groups, widths
from onnxbf.recipe import load_recipe
from onnxbf.session import make_session, run
from onnxbf.studies.chart import Chart
from onnxbf.studies.claim import Claim, Side
from onnxbf.studies.learning import BATCH, learn_digits
from onnxbf.studies.networks import Network, uniform
from onnxbf.studies.study import Cell, Effort, Row, Study, means
from onnxbf.studies.task import LABELS, digits
from onnxbf.training.graphs import build_graphs
from onnxbf.training.transitions import Constant

Array = NDArray[Any]
Quantize = Callable[[Array, RangeCast, int], Array]
SAMPLES, FEATURES, DRAWS = 128, 64, 400
QUANTIZERS = ("ptq", "psq", "bhq")
BITS = (8, 5, 4)
QAT = "fqt-ptq{gradients=fp32}"
EPOCHS, MORE, FEWEST = 30, 4, 2
# The rate and the momentum of the paper's code; of 0.01, 0.02, 0.05, 0.1 and 0.2 it is the rate at
# which float32 learns the most. Weights are drawn as there, by PyTorch's default.
RATE = 0.1
_ONE, _ALIKE = "one wide", "alike"


def by_kernels(x: Array, cast: RangeCast, draw: int) -> Array:
    """``x`` quantized with the random bits of a draw."""
    return kernels(instruction_sets()[-1]).quantize_range(x, cast, RandomKey(0, 1, draw))


@dataclass(frozen=True, kw_only=True)
class FullyQuantized(Study):
    """Quantizers of matrices of 128 samples, in a network of two layers, in training on digits."""

    name: ClassVar[str] = "fqt"
    source: ClassVar[str] = "Chen et al. 2020, Low-bitwidth Training (arXiv 2010.14298)"
    about: ClassVar[str] = "gradients of few bits: unbiased quantizers and their variance"
    claims: ClassVar[Sequence[Claim]] = (
        Claim(
            "F1 psq",
            "one wide sample: variance of ptq over that of psq",
            Side.AT_LEAST,
            SAMPLES / 3,
        ),
        Claim("F1 bhq", "and of psq over that of bhq", Side.AT_LEAST, SAMPLES / 3),
        Claim("F1 alike", "samples alike: variance of bhq over that of psq", Side.AT_MOST, 1.1),
        Claim("F1 bound", "variance over its bound, (D/4) |S^-1|^2", Side.AT_MOST, 1),
        Claim("F1 bit", "a bit less multiplies the variance by", Side.AT_LEAST, 3.5),
        Claim("F1 bit most", "and by no more than", Side.AT_MOST, 5),
        Claim(
            "F2 least", "unbiased: error of the mean over what chance explains", Side.AT_LEAST, 0.75
        ),
        Claim("F2 most", "and the largest such ratio", Side.AT_MOST, 1.3),
        Claim("F3 least", "gradients of weights likewise: the least ratio", Side.AT_LEAST, 0.75),
        Claim("F3 most", "and the largest", Side.AT_MOST, 1.3),
        Claim("F4 more", f"trained with {MORE} bits, the least accuracy", Side.AT_LEAST, 0.97),
        Claim("F4 ptq", f"trained with {FEWEST} bits, ptq fails: accuracy", Side.BELOW, 0.5),
        Claim("F4 psq", "psq does not: points of accuracy lost", Side.AT_MOST, 2),
        Claim("F4 bhq", "nor does bhq: points of accuracy lost", Side.AT_MOST, 2),
    )
    charts: ClassVar[Sequence[Chart]] = (
        Chart(
            "variance", "Variance where one sample is wide", "bits", "wide", "quantizer", log=True
        ),
        Chart("accuracy", "Accuracy after training", "recipe", "accuracy", "bits"),
    )
    packages: ClassVar[Sequence[str]] = ("sklearn",)

    def cells(self, effort: Effort) -> Sequence[Cell]:
        measured = [
            Cell(
                f"variance of {name}, {bits} bits", partial(_measure, name, bits, self.quantizer())
            )
            for name in QUANTIZERS
            for bits in BITS
        ]
        layer = [Cell(f"gradients by {name}", partial(_gradients, name)) for name in QUANTIZERS]
        runs = [("none", 32), (QAT, 32)]
        runs += [(f"fqt-{name}{{bits={b}}}", b) for b in (MORE, FEWEST) for name in QUANTIZERS]
        trained = [
            Cell(f"{recipe} seed {seed}", partial(_train, recipe, bits, seed))
            for recipe, bits in runs
            for seed in range(effort.seeds)
        ]
        return (*measured, *layer, *trained)

    def quantizer(self) -> Quantize:
        """What quantizes."""
        return by_kernels

    def judge(self, rows: Sequence[Row]) -> Mapping[str, float]:
        kinds = {(r["quantizer"], r["bits"]): r for r in rows if "wide" in r}
        wide = {key: float(row["wide"]) for key, row in kinds.items()}
        alike = {key: float(row["alike"]) for key, row in kinds.items()}
        biases = [float(row[c]) for row in kinds.values() for c in ("wide_bias", "alike_bias")]
        layers = [float(row["gradient_bias"]) for row in rows if "gradient_bias" in row]
        steps = [alike[name, 4] / alike[name, 5] for name in QUANTIZERS]
        accuracy = {row["recipe"]: float(row["accuracy"]) for row in self.table(rows)}
        fewest = {name: accuracy[f"fqt-{name}{{bits={FEWEST}}}"] for name in QUANTIZERS}
        return {
            "F1 psq": min(wide["ptq", bits] / wide["psq", bits] for bits in BITS),
            "F1 bhq": min(wide["psq", bits] / wide["bhq", bits] for bits in BITS),
            "F1 alike": max(alike["bhq", bits] / alike["psq", bits] for bits in BITS),
            "F1 bound": max(
                float(r[c]) for r in kinds.values() for c in ("wide_bound", "alike_bound")
            ),
            "F1 bit": min(steps),
            "F1 bit most": max(steps),
            "F2 least": min(biases),
            "F2 most": max(biases),
            "F3 least": min(layers),
            "F3 most": max(layers),
            "F4 more": min(accuracy[f"fqt-{name}{{bits={MORE}}}"] for name in QUANTIZERS),
            "F4 ptq": fewest["ptq"],
            "F4 psq": 100 * (accuracy[QAT] - fewest["psq"]),
            "F4 bhq": 100 * (accuracy[QAT] - fewest["bhq"]),
        }

    def table(self, rows: Sequence[Row]) -> Sequence[Row]:
        trained = [row for row in rows if "accuracy" in row]
        return means(trained, ("recipe", "bits"), ("accuracy", "training_loss"))

    def remarks(self, rows: Sequence[Row]) -> Sequence[str]:
        return [
            f"{row['quantizer']}, {row['bits']} bits: variance {float(row['wide']):.3g} with one "
            f"wide sample, {float(row['alike']):.3g} with samples alike."
            for row in rows
            if "wide" in row
        ]


def _matrix(kind: str) -> Array:
    x = np.random.default_rng(0).normal(0, 1e-3, (SAMPLES, FEATURES)).astype(np.float32)
    if kind == _ONE:
        x[0] *= 1000
    return x


def _measure(name: str, bits: int, quantize: Quantize) -> list[Row]:
    cast = parse_range_cast(f"{name}{{bits={bits}}}")
    found: dict[str, str | float] = {"quantizer": name, "bits": bits}
    for column, kind in (("wide", _ONE), ("alike", _ALIKE)):
        x = _matrix(kind)
        draws = (quantize(x, cast, draw) for draw in range(DRAWS))
        variance, bias = _moments(x, draws)
        found[column] = variance
        found[f"{column}_bias"] = bias
        found[f"{column}_bound"] = variance / _bound(x, cast)
    return [found]


def _moments(x: Array, draws: Any) -> tuple[float, float]:
    """The variance of draws in all; the norm of their mean's error over what that explains."""
    total, squares, count = np.zeros(x.shape), 0.0, 0
    for draw in draws:
        error = draw.astype(np.float64) - x
        total += error
        squares += float(np.square(error).sum())
        count += 1
    variance = squares / count
    return variance, float(np.linalg.norm(total / count)) / math.sqrt(variance / count)


def _bound(x: Array, cast: RangeCast) -> float:
    """(D/4) times the squared Frobenius norm of the quantizer's inverse scale."""
    step = (widths(x) if cast.name != "ptq" else widths(x.reshape(1, -1))) / cast.bins
    if cast.name != "bhq":
        rows = SAMPLES if cast.name == "ptq" else 1
        return FEATURES / 4 * rows * float(np.square(step, dtype=np.float64).sum())
    total = 0.0
    for group in make_groups(widths(x)):
        unit, scales = group.unit.astype(np.float64), group.scales.astype(np.float64)
        reflection = np.eye(len(unit)) - 2 * np.outer(unit, unit)
        mixed = (reflection @ (scales[:, None] * x[list(group.rows)])).astype(np.float32)
        inverse = (reflection / scales[:, None]) * (widths(mixed) / cast.bins)
        total += float(np.square(inverse).sum())
    return FEATURES / 4 * total


def _mlp(seed: int) -> ir.Model:
    net = Network(seed, (1, 8, 8), draw=uniform).then("Flatten").dense(64, 128).then("Relu")
    return net.dense(128, 128).then("Relu").dense(128, 10).finish(10)


def _two_layers(seed: int) -> ir.Model:
    net = Network(seed, (1, 8, 8)).then("Flatten").dense(64, 32).then("Relu")
    return net.dense(32, 10).finish(10)


def _gradients(name: str) -> list[Row]:
    """How far the mean of a quantized network's gradient is from that of QAT."""
    graphs = build_graphs(_two_layers(0), "cross-entropy", "sgd")
    task, labels = digits(), graphs.attached.labels[0]
    feeds: dict[str, Array] = {
        "x": task.training["x"][:BATCH],
        labels: task.training[LABELS][:BATCH],
        "loss_scale": np.ones((), np.float32),
        **graphs.state,
    }

    def gradients(recipe: str, draws: int) -> Any:
        model = graphs.under(load_recipe(recipe)).gradient
        session = make_session(to_proto(model).SerializeToString(), threads=1)
        inputs = {value.name for value in session.get_inputs()}
        for draw in range(draws):
            given = {**feeds, "step": np.array(draw, np.int64)}
            found = run(session, {k: v for k, v in given.items() if k in inputs})
            yield np.concatenate([found[f"{p}.gradient"].ravel() for p in graphs.trained])

    (exact,) = gradients(QAT, 1)
    variance, bias = _moments(exact, gradients(f"fqt-{name}{{bits=4}}", DRAWS))
    return [{"layer": name, "gradient_variance": variance, "gradient_bias": bias}]


def _train(recipe: str, bits: int, seed: int) -> list[Row]:
    graphs = build_graphs(_mlp(seed), "cross-entropy", "momentum")
    learned = learn_digits(graphs, Constant(value=RATE), EPOCHS, recipe=recipe, seed=seed)
    return [{"recipe": recipe, "bits": bits, "seed": seed, **learned.row}]

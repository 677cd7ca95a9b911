"""Study ``rich``: few parameters are active, and training few layers can be enough."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxbf.graph import Phase
from onnxbf.recipe import load_recipe
from onnxbf.studies.chart import Chart
from onnxbf.studies.claim import Claim, Side
from onnxbf.studies.learning import BATCH, learn_digits
from onnxbf.studies.networks import Network, uniform
from onnxbf.studies.study import Cell, Effort, Row, Study, means
from onnxbf.studies.task import LABELS, digits
from onnxbf.training.activity import activity, reset_active
from onnxbf.training.evaluation import Evaluation, all_values
from onnxbf.training.flops import product_flops
from onnxbf.training.graphs import TrainingGraphs, build_graphs
from onnxbf.training.layers import find_layers
from onnxbf.training.schedules import parse_schedule
from onnxbf.training.trainer import Trainer
from onnxbf.training.transitions import Constant

Array = NDArray[Any]
EPOCHS, LONG = 60, 90  # of the runs at a constant rate, and of those that compare policies
WIDTHS = (64, 256, 512)
WIDTH = 256
SLOW = 0.1
DECAY = "POLY{k0=0.4,p=0.5,l=3510}"  # over 90 epochs of 39 steps
FULL, TOP, ENDS = "all layers", "static{top=1}", "static{bottom=1,top=1}"
P = 0.2
SPARSE = f"probabilistic{{p={P},top=1}}"
_JUDGED = (FULL, TOP, ENDS, SPARSE)
POLICIES = (*_JUDGED, "probabilistic{p=0.5,top=1}")
_TIMED = 200  # steps


@dataclass(frozen=True, kw_only=True)
class RichRegime(Study):
    """Perceptrons of five layers on digits, by SGD; weights as PyTorch draws them by default.

    Args:
        recipe: what is rounded.
    """

    name: ClassVar[str] = "rich"
    source: ClassVar[str] = "Li and Banerjee 2021, Rich Regime Training (arXiv 2102.13522)"
    about: ClassVar[str] = "few parameters are active; layer-wise sparse SGD trains few layers"
    claims: ClassVar[Sequence[Claim]] = (
        Claim("active", "resetting the active 1% costs points of accuracy", Side.AT_LEAST, 2),
        Claim("lazy", "as many times what resetting the laziest 1% costs", Side.AT_LEAST, 3),
        Claim(
            "bottom",
            "the bottom two of five layers hold most active parameters at width 512: share",
            Side.AT_LEAST,
            0.5,
        ),
        Claim("wider", "and more of them the wider: least growth of the share", Side.ABOVE, 0),
        Claim("top", "the top layer alone: points of accuracy lost", Side.AT_LEAST, 2),
        Claim("ends", "the bottom and the top layer: points of accuracy lost", Side.AT_MOST, 1),
        Claim("sparse", f"{SPARSE}: points of accuracy lost", Side.AT_MOST, 1.5),
        Claim(
            "cheaper", "its backward pass takes fewer operations by a factor of", Side.AT_LEAST, 2
        ),
    )
    charts: ClassVar[Sequence[Chart]] = (
        Chart("activity", "Active parameters by layer", "layer", "share", "width"),
        Chart("policies", "Accuracy by what is trained", "policy", "accuracy", "recipe"),
    )
    packages: ClassVar[Sequence[str]] = ("sklearn",)

    recipe: str = "none"

    def cells(self, effort: Effort) -> Sequence[Cell]:
        load_recipe(self.recipe)
        seeds = range(effort.seeds)
        active = [
            Cell(f"width {width} seed {seed}", partial(_active, self.recipe, width, seed))
            for width in WIDTHS
            for seed in seeds
        ]
        trained = [
            Cell(f"{policy} seed {seed}", partial(_trained, self.recipe, policy, seed))
            for policy in (POLICIES if not effort.quick else _JUDGED)
            for seed in seeds
        ]
        return (*active, *trained, Cell("operations", partial(_operations, self.recipe)))

    def judge(self, rows: Sequence[Row]) -> Mapping[str, float]:
        by_policy = {row["policy"]: float(row["accuracy"]) for row in self.table(rows)}
        lost = {policy: 100 * (by_policy[FULL] - by_policy[policy]) for policy in _JUDGED}
        (reset,) = (row for row in _resets(rows) if row["width"] == WIDTH)
        active, lazy = (100 * float(reset[name]) for name in ("active", "lazy"))
        shares = [_bottom_share(rows, width) for width in WIDTHS]
        (operations,) = (row for row in rows if "full_operations" in row)
        return {
            "active": active,
            "lazy": active / max(lazy, 0.01),
            "bottom": shares[-1],
            "wider": min(after - before for before, after in itertools.pairwise(shares)),
            "top": lost[TOP],
            "ends": lost[ENDS],
            "sparse": lost[SPARSE],
            "cheaper": _saving(operations, "operations"),
        }

    def table(self, rows: Sequence[Row]) -> Sequence[Row]:
        trained = [row for row in rows if "policy" in row]
        return means(trained, ("policy", "recipe"), ("accuracy", "training_loss", "seconds"))

    def remarks(self, rows: Sequence[Row]) -> Sequence[str]:
        shares = {
            width: ", ".join(f"{float(row['share']):.2f}" for row in _shares(rows, width))
            for width in WIDTHS
        }
        (operations,) = (row for row in rows if "full_operations" in row)
        return [
            *(
                f"Width {w}: shares of the active parameters, bottom first: {s}."
                for w, s in shares.items()
            ),
            f"In time the backward pass of {SPARSE} is {_saving(operations, 'seconds'):.1f} times "
            "as fast, here and now.",
        ]


def _network(width: int, seed: int) -> ir.Model:
    net = Network(seed, (1, 8, 8), draw=uniform).then("Flatten")
    for before in (64, width, width, width):
        net.dense(before, width).then("Relu")
    return net.dense(width, 10).finish(10)


def _graphs(width: int, seed: int) -> TrainingGraphs:
    return build_graphs(_network(width, seed), "cross-entropy", "sgd")


def _active(recipe: str, width: int, seed: int) -> list[Row]:
    """Shares of the layers, and what resetting active and lazy parameters costs."""
    graphs = _graphs(width, seed)
    initial = {name: array.copy() for name, array in graphs.state.items()}
    learned = learn_digits(graphs, Constant(value=SLOW), EPOCHS, recipe=recipe, seed=seed)
    final, layers = learned.trainer.state(), find_layers(graphs.gradient, graphs.trained)
    costs = {
        name: learned.last["accuracy"]
        - _accuracy(graphs, reset_active(initial, final, graphs.trained, lazy=name == "lazy"))
        for name in ("active", "lazy")
    }
    shares: list[Row] = [
        {
            "width": width,
            "seed": seed,
            "layer": index,
            "share": each.share,
            "density": each.density,
            "change": each.change,
        }
        for index, each in enumerate(activity(initial, final, layers), 1)
    ]
    return [*shares, {"width": width, "seed": seed, **costs}]


def _accuracy(graphs: TrainingGraphs, state: Mapping[str, Array]) -> float:
    task = digits()
    batch = {"x": task.testing["x"], graphs.attached.labels[0]: task.testing[LABELS]}
    _, (logits,) = Evaluation(graphs, threads=1).run(batch, state)
    return float(np.mean(logits.argmax(1) == task.testing[LABELS]))


def _trained(recipe: str, policy: str, seed: int) -> list[Row]:
    graphs = _graphs(WIDTH, seed)
    graphs = graphs if policy == FULL else graphs.layerwise(policy)
    started = time.perf_counter()
    learned = learn_digits(graphs, parse_schedule(DECAY), LONG, recipe=recipe, seed=seed)
    return [
        {
            "policy": policy,
            "recipe": recipe,
            "seed": seed,
            **learned.row,
            "seconds": time.perf_counter() - started,
        }
    ]


def _operations(recipe: str) -> list[Row]:
    """What backward passes of all layers and of the top one cost: operations, and seconds."""
    full = _graphs(WIDTH, 0)
    top = full.layerwise(TOP)
    assert top.partial is not None
    task = digits()
    batch = {
        "x": task.training["x"][:BATCH],
        full.attached.labels[0]: task.training[LABELS][:BATCH],
    }
    counts = [_backward(graphs, batch) for graphs in (full, top.partial.graphs)]
    under = load_recipe(recipe)
    trainers = [Trainer(graphs.under(under), threads=1) for graphs in (full, top)]
    evaluation = Evaluation(full.under(under), threads=1)
    state = trainers[0].state()
    runs: list[Callable[[], object]] = [
        *(partial(trainer.step, [batch], SLOW) for trainer in trainers),
        partial(evaluation.run, batch, state),
    ]
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(_TIMED):  # one after the other, so that what else runs here slows them alike
        for run, found in zip(runs, times):
            started = time.perf_counter()
            run()
            found.append(time.perf_counter() - started)
    whole, cut, forward = map(statistics.median, times)
    return [
        {
            "full_operations": counts[0],
            "top_operations": counts[1],
            "full_seconds": whole - forward,
            "top_seconds": cut - forward,
        }
    ]


def _backward(graphs: TrainingGraphs, batch: Mapping[str, Array]) -> int:
    values = all_values(graphs, batch, graphs.state)
    flops = product_flops(graphs.gradient, {name: array.shape for name, array in values.items()})
    return flops[Phase.INPUT_GRADIENT] + flops[Phase.WEIGHT_GRADIENT]


def _saving(row: Row, of: str) -> float:
    """How many times less a backward pass takes on average if only every 1/P-th is a full one."""
    full, top = float(row[f"full_{of}"]), float(row[f"top_{of}"])
    return full / (P * full + (1 - P) * top)


def _shares(rows: Sequence[Row], width: int) -> list[Row]:
    return means([r for r in rows if "share" in r and r["width"] == width], ("layer",), ("share",))


def _bottom_share(rows: Sequence[Row], width: int) -> float:
    return sum(float(row["share"]) for row in _shares(rows, width)[:2])


def _resets(rows: Sequence[Row]) -> list[Row]:
    return means([row for row in rows if "lazy" in row], ("width",), ("active", "lazy"))

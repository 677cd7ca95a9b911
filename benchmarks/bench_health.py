"""What numeric health costs: of a rounding, and of a training step in which everything is measured.

    python benchmarks/bench_health.py [--rounds N] [--steps N] [--threads N] [--only NETWORK]

A rounding that is measured stands beside the plain one on the same array, which the cache holds,
and a step with all counters beside one without, of the same network on the same batch, made just
before it. Times are processor time, which other work on the machine disturbs least: that of all
threads, which is why a step has one unless told. Figures are medians of ratios, and least times.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from bench_rounding import aligned
from bench_training import ratio
from models import NETWORKS, Network
from rich.console import Console
from rich.table import Table

from onnxbf.custom_ops.kernels import kernels
from onnxbf.custom_ops.library import RandomKey, instruction_sets
from onnxbf.formats import parse_cast
from onnxbf.protos import from_proto
from onnxbf.recipe import load_recipe
from onnxbf.training.graphs import build_graphs
from onnxbf.training.trainer import Trainer

ELEMENTS = 1 << 18
CASTS = ("bf16:rne", "bf16:sr", "fp16:rne", "e4m3fn:rne{overflow=saturate}")
RECIPES = ("bf16", "fp8")
RATE = 1e-3


def times(runs: Sequence[Callable[[], Any]], rounds: int) -> list[list[float]]:
    """Seconds of each, one after the other, round by round."""
    found: list[list[float]] = [[] for _ in runs]
    for index in range(-2, rounds):  # two rounds to warm up
        for run, seconds in zip(runs, found, strict=True):
            start = time.process_time()
            run()
            if index >= 0:
                seconds.append(time.process_time() - start)
    return found


def roundings(rounds: int) -> Table:
    """Each instruction set: numbers of ordinary size, a third of them zero."""
    table = Table("kernels", "cast", "plain ns", "measured ns", "measured / plain", box=None)
    source, target = aligned(ELEMENTS), aligned(ELEMENTS)
    source[:] = np.random.default_rng(0).standard_normal(ELEMENTS)
    source[::3] = 0
    key = RandomKey(1, 2, 3)
    for name in reversed(instruction_sets()):
        used = kernels(name)
        for text in CASTS:
            arguments = (source, target, parse_cast(text), key)
            runs = (
                partial(used.quantize_dequantize, *arguments),
                partial(used.observe_rounding, *arguments),
            )
            plain, measured = times(runs, rounds)
            least = (f"{1e9 * min(seconds) / ELEMENTS:.3f}" for seconds in (plain, measured))
            table.add_row(name, text, *least, ratio(measured, plain))
    return table


def steps(network: Network, recipe: str, threads: int, rounds: int, count: int) -> Sequence[str]:
    """Milliseconds of a step without and with all counters; their ratio; what was counted."""
    graphs = build_graphs(from_proto(network.model()), "cross-entropy", "adamw")
    graphs = graphs.under(load_recipe(recipe))
    names = graphs.gradient.graph.inputs[0].name or "", graphs.attached.labels[0]
    batch = dict(zip(names, network.batch(np.random.default_rng(1)), strict=True))
    trainers = [Trainer(graphs, threads=threads, health_every=every) for every in (0, 1)]

    def train(trainer: Trainer) -> None:
        for _ in range(count):
            trainer.step([batch], RATE)

    plain, measured = times([partial(train, trainer) for trainer in trainers], rounds)
    counted = sum(health.elements for health in trainers[1].health())
    least = (f"{1000 * min(seconds) / count:.2f}" for seconds in (plain, measured))
    return *least, ratio(measured, plain), f"{counted / 1e6:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--steps", type=int, default=3, help="with and without, in a round")
    parser.add_argument("--threads", type=int, default=1, help="of a step; kernels use one")
    parser.add_argument("--only", choices=list(NETWORKS), help="one network alone")
    options = parser.parse_args()
    console = Console(width=120)
    console.print(roundings(options.rounds))
    table = Table(
        "network", "recipe", "ms", "measured ms", "measured / plain", "millions counted", box=None
    )
    for name, network in NETWORKS.items():
        for recipe in RECIPES if options.only in (None, name) else ():
            found = steps(network, recipe, options.threads, options.rounds, options.steps)
            table.add_row(name, recipe, *found)
    console.print(table)


if __name__ == "__main__":
    main()

"""Accuracy on handwritten digits by recipe: the figures of docs/training_numerics.md.

Run it at the root of the repository: ``python -m benchmarks.digits_accuracy``.
"""

from __future__ import annotations

import numpy as np

from tests.digits import Outcome, cnn, graphs_of, learn, mlp

SEEDS = range(3)
RECIPES = (
    "none",
    "bf16",
    "bf16{weight_gradients=fp32}",
    "bf16{inputs=bf16:rtz,weights=bf16:rtz,outputs=bf16:rtz,gradients=bf16:rtz}",  # truncation
    "fp16",
    "fp8",
    "fp8-current",
    "fp8-delayed",
)
NETWORKS = (("CNN", cnn, "adam", 2e-3, 12), ("MLP", mlp, "momentum", 0.05, 40))
SCALES = (
    ("none", 20),
    ("bf16", 20),
    ("fp16", 20),
    ("fp16", 8),
    ("fp8", 20),
    ("fp8-current", 20),
    ("fp8-delayed", 20),
)


def main() -> None:
    for name, make, optimizer, rate, epochs in NETWORKS:
        graphs = [graphs_of(make(seed), optimizer) for seed in SEEDS]
        for recipe in RECIPES:
            found = [learn(graphs[seed], recipe, rate, epochs, seed=seed) for seed in SEEDS]
            print(f"{name}  {recipe:76}  {_summary(found)}", flush=True)
    graphs = [graphs_of(mlp(seed), "momentum") for seed in SEEDS]
    for recipe, power in SCALES:
        found = [
            learn(graphs[seed], recipe, 0.05, 20, seed=seed, scale=2.0**-power) for seed in SEEDS
        ]
        print(f"MLP  {recipe} with the loss times 2^-{power:<10}  {_summary(found)}", flush=True)


def _summary(outcomes: list[Outcome]) -> str:
    accuracy = np.mean([outcome.accuracy for outcome in outcomes])
    return f"accuracy {accuracy:.4f}  loss {np.mean([o.loss for o in outcomes]):.3g}"


if __name__ == "__main__":
    main()

"""Products that finish their results train to the bits of nodes of their own, and tell the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxbf.files import load_model
from onnxbf.passes.fuse_products import FuseProducts
from onnxbf.recipe import load_recipe
from onnxbf.training.graphs import TrainingGraphs, build_graphs
from onnxbf.training.trainer import Trainer
from tests.implementations import same_bits
from tests.runtime import needs_training
from tests.training_batches import Arrays, batches_of

pytestmark = needs_training

MODELS = Path(__file__).parents[1] / "models"
FUSED = "MatMulElementwise"


def _graphs(name: str, recipe: str) -> tuple[TrainingGraphs, list[Arrays]]:
    data = np.load(MODELS / "training" / f"{name}.npz")
    graphs = build_graphs(load_model(MODELS / f"{name}.onnx"), "cross-entropy", "adamw")
    (labels,) = graphs.attached.labels
    return graphs.under(load_recipe(recipe)), batches_of(data, labels)


def _train(graphs: TrainingGraphs, batches: list[Arrays], threads: int, health: int) -> Any:
    trainer = Trainer(graphs, threads=threads, health_every=health)
    losses, told = [], []
    for step in range(4):
        losses.append(trainer.step([batches[step % len(batches)]], 0.01).loss)
        told.append(str(trainer.health()) if health else "")
    return losses, told, {name: array.copy() for name, array in trainer.state().items()}


@pytest.mark.parametrize(
    ("recipe", "health"),
    [("avx512-bf16", 0), ("avx512-bf16", 2), ("bf16-accumulate", 0), ("fp8-chunked", 2)],
)
def test_steps_are_the_same_bits(recipe: str, health: int, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs, batches = _graphs("torch_vit", recipe)
    whole, fused = FuseProducts.call, []

    def call(self: FuseProducts, model: ir.Model) -> ir.passes.PassResult:
        result = whole(self, model)
        fused.append(sum(node.op_type == FUSED for node in model.graph))
        return result

    monkeypatch.setattr(FuseProducts, "call", call)
    others, also_told, other = _train(graphs, batches, 2, health)
    assert max(fused) > 5

    def nothing(self: FuseProducts, model: ir.Model) -> ir.passes.PassResult:
        return ir.passes.PassResult(model, modified=False)

    monkeypatch.setattr(FuseProducts, "call", nothing)
    losses, told, state = _train(graphs, batches, 1, health)
    assert losses[-1] != losses[0]
    assert others == losses
    assert also_told == told
    assert other.keys() == state.keys()
    assert all(same_bits(other[name], array) for name, array in state.items())

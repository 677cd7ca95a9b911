"""What a step's graphs are when they run."""

from __future__ import annotations

from pathlib import Path

from onnxbf.files import load_model
from onnxbf.graph import GRADIENT
from onnxbf.recipe import load_recipe
from onnxbf.training.graphs import build_graphs
from onnxbf.training.program import _fused
from tests.runtime import needs_training

MODELS = Path(__file__).parents[2] / "models"


@needs_training
def test_outputs_that_a_step_does_not_read_are_not_computed_for_it() -> None:
    model = load_model(MODELS / "torch_cnn_unoptimized.onnx")
    logits = model.graph.outputs[0].name
    graphs = build_graphs(model, "cross-entropy", "sgd").under(load_recipe("bf16"))
    loss = graphs.attached.loss
    given = [value.name or "" for value in graphs.gradient.graph.outputs]
    read = [value.name for value in _fused(graphs.gradient, loss=loss).graph.outputs]
    assert logits in given and logits not in read
    assert read == [name for name in given if name != logits]
    assert loss in read and any(name.endswith(GRADIENT) for name in read if name)

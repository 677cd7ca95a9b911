"""Training in float32 against PyTorch's own: gradients of the first step, losses of twenty.

What PyTorch computed lies in tests/models/training; the script beside it made it.
"""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxbf.files import load_model
from onnxbf.protos import to_proto
from onnxbf.recipe import load_recipe
from onnxbf.session import make_session, run
from onnxbf.training.graphs import TrainingGraphs, build_graphs
from onnxbf.training.trainer import Trainer
from tests.runtime import needs_training
from tests.training_batches import Arrays, batches_of

pytestmark = needs_training

MODELS = Path(__file__).parents[1] / "models"
NAMES = sorted(path.stem for path in (MODELS / "training").glob("*.npz"))
RATE = 0.05


RECURRENT = ["torch_gru", "torch_lstm", "torchscript_gru"]


def load(name: str, unroll: bool = True) -> tuple[Arrays, TrainingGraphs, list[Arrays]]:
    """What PyTorch computed, the graphs, and the batches."""
    data = dict(np.load(MODELS / "training" / f"{name}.npz"))
    model = load_model(MODELS / f"{name}.onnx")
    graphs = build_graphs(
        model,
        "mse" if data["labels/0"].dtype == np.float32 else "cross-entropy",
        "momentum{momentum=0.9}",
        outputs=[model.graph.outputs[0].name or ""],
        unroll=unroll,
    ).under(load_recipe("none"))
    (labels,) = graphs.attached.labels
    return data, graphs, batches_of(data, labels)


@pytest.mark.parametrize(
    ("name", "unroll"), [*((n, True) for n in NAMES), *((n, False) for n in RECURRENT)]
)
def test_gradients_are_pytorchs(name: str, unroll: bool) -> None:
    data, graphs, batches = load(name, unroll)
    session = make_session(to_proto(graphs.gradient).SerializeToString(), threads=1)
    wanted = {value.name for value in session.get_inputs()}
    feeds = {**graphs.state, **batches[0], "loss_scale": np.ones((), np.float32)}
    found = run(session, {key: array for key, array in feeds.items() if key in wanted})
    saved = [key for key in data if key.startswith("gradient/")]
    assert saved
    for key in saved:
        computed = found[f"{key.removeprefix('gradient/')}.gradient"]
        error = np.linalg.norm(computed - data[key])
        assert error <= 1e-5 * np.linalg.norm(data[key]) + 1e-6, key


@pytest.mark.parametrize("name", NAMES)
def test_losses_are_pytorchs_step_by_step(name: str) -> None:
    data, graphs, batches = load(name)
    trainer = Trainer(graphs, threads=1)
    losses = [
        trainer.step([batches[step % len(batches)]], RATE).loss
        for step in range(len(data["losses"]))
    ]
    np.testing.assert_allclose(losses, data["losses"], rtol=1e-5)


def test_bf16_rounds_every_step_and_each_weight_once() -> None:
    _, graphs, _ = load("torch_lstm")
    graph = graphs.under(load_recipe("bf16")).gradient.graph
    rounded = [n.inputs[0] for n in graph if n.op_type == "QuantizeDequantize"]
    names = Counter(value.name for value in rounded if value is not None)
    for layer, step in itertools.product(("node_LSTM_112", "node_LSTM_220"), range(9)):
        at = f"{layer}/forward/step_{step}"
        written = [f"{at}/{part}:0" for part in ("Gemm", "Sigmoid", "Tanh", "Mul", "Add_1")]
        assert all(names[name] == 1 for name in written), at
    for weights in ("val_109", "val_110", "val_219", "val_220"):
        (split,) = (n for n in graph if n.op_type == "Split" and n.inputs[0].name == weights)
        assert [names[value.name] for value in split.outputs] == [1, 1]
    (reader,) = (n for n in graph if n.name == "node_LSTM_112/forward/step_3/Gemm")
    assert all(v.name.endswith("_bf16") for v in (reader.inputs[0], weights_behind(reader)))


def weights_behind(node: Any) -> Any:
    """What a step's product reads as weights, seen through the Squeeze of a direction."""
    return node.inputs[1].producer().inputs[0]

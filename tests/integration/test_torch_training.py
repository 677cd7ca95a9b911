"""Training in float32 against PyTorch's own: gradients of the first step, losses of twenty.

What PyTorch computed lies in tests/models/training; the script beside it made it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from onnxbf.files import load_model
from onnxbf.protos import to_proto
from onnxbf.session import make_session, run
from onnxbf.training.graphs import TrainingGraphs, build_graphs
from onnxbf.training.trainer import Trainer

_binding = pytest.importorskip("onnxruntime.capi._pybind_state")
pytestmark = pytest.mark.skipif(
    not hasattr(_binding, "GradientGraphBuilder"), reason="this ONNX Runtime cannot train"
)

MODELS = Path(__file__).parents[1] / "models"
NAMES = sorted(path.stem for path in (MODELS / "training").glob("*.npz"))
RATE = 0.05

Arrays = dict[str, NDArray[Any]]


def load(name: str) -> tuple[Arrays, TrainingGraphs, list[Arrays]]:
    """What PyTorch computed, the graphs, and the batches."""
    data = dict(np.load(MODELS / "training" / f"{name}.npz"))
    graphs = build_graphs(
        load_model(MODELS / f"{name}.onnx"), "cross-entropy", "momentum{momentum=0.9}"
    )
    (labels,) = graphs.attached.labels
    batches = []
    for index in range(sum(key.startswith("labels/") for key in data)):
        inputs = [key for key in data if key.startswith("input/") and key.endswith(f"/{index}")]
        batch = {key.split("/")[1]: data[key] for key in inputs}
        batches.append({**batch, labels: data[f"labels/{index}"]})
    return data, graphs, batches


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_pytorchs(name: str) -> None:
    data, graphs, batches = load(name)
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

"""Time of one training step: our trainer, ONNX Runtime's own training API, PyTorch.

    python benchmarks/bench_training.py [--rounds N] [--steps N] [--optimizer adamw] [--threads 2]

All candidates take steps in turn within one process. Ratios are medians over the rounds, each to
the step beside it, so what slows the machine down for a while slows both; milliseconds are those of
the fastest round. Each rests before its turn, until threads of the one before wait no longer: those
of ONNX Runtime's Module do so busily, for some 20 ms after a run. The anchor is that Module and its
Optimizer on artifacts that its own generator made of the same model; the last columns are ratios to
our own float32 step: of time, and of the processor's time, which others on the machine disturb less
(on one thread: several wait for each other busily). PyTorch is measured where it is installed. All
that run ONNX begin with the same weights, and with the same loss, which is checked.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import statistics
import sys
import tempfile
import time
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from models import NETWORKS, Array, Network
from rich.console import Console
from rich.table import Table

import onnxbf
from onnxbf.protos import from_proto
from onnxbf.recipe import load_recipe
from onnxbf.training.artifacts import make_artifacts, save_artifacts
from onnxbf.training.graphs import TrainingGraphs, build_graphs
from onnxbf.training.ort_optimizer import make_ort_optimizer
from onnxbf.training.trainer import Trainer

ANCHOR = "ONNX Runtime's Module, its own artifacts"
OURS = "our trainer, float32"
RATE = 1e-3
REST = 0.06  # seconds
Step = Callable[[Array, Array], float]


def training_module(name: str) -> Any:
    """A module of ``onnxruntime.training``, whose ``__init__`` would import PyTorch."""
    package = types.ModuleType("onnxruntime.training")
    package.__path__ = [str(Path(onnxruntime.__file__).parent / "training")]
    sys.modules.setdefault("onnxruntime.training", package)
    return importlib.import_module(f"onnxruntime.training.{name}")


def generate(model: onnx.ModelProto, folder: Path, optimizer: str) -> None:
    """ONNX Runtime's own artifacts."""
    artifacts = training_module("artifacts")
    weights = [
        tensor.name
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT and tensor.dims
    ]
    kinds = {"adamw": artifacts.OptimType.AdamW, "sgd": artifacts.OptimType.SGD}
    artifacts.generate_artifacts(
        model,
        requires_grad=weights,
        loss=artifacts.LossType.CrossEntropyLoss,
        optimizer=kinds[optimizer],
        artifact_directory=folder,
    )
    path = folder / "optimizer_model.onnx"
    made = onnx.load(path)
    made.ir_version = model.ir_version  # it takes onnx's newest, which this runtime refuses
    onnx.save(made, path)


def module_step(folder: Path, threads: int) -> Step:
    """A step of Module and Optimizer."""
    api = training_module("api")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    onnxbf.register_custom_ops(options)
    state = api.CheckpointState.load_checkpoint(folder / "checkpoint")
    module = api.Module(folder / "training_model.onnx", state, session_options=options)
    optimizer = api.Optimizer(folder / "optimizer_model.onnx", module)
    optimizer.set_learning_rate(RATE)

    def step(inputs: Array, labels: Array) -> float:
        given = module(inputs, labels)
        optimizer.step()
        module.lazy_reset_grad()
        return float(given[0] if isinstance(given, tuple) else given)

    return step


def trainer_step(graphs: TrainingGraphs, threads: int) -> Step:
    """A step of our trainer."""
    trainer = Trainer(graphs, threads=threads)
    name, labels = graphs.gradient.graph.inputs[0].name or "", graphs.attached.labels[0]
    return lambda inputs, expected: trainer.step([{name: inputs, labels: expected}], RATE).loss


def torch_step(network: Network, optimizer: str, threads: int) -> Step:
    """A step of PyTorch, eager."""
    torch = importlib.import_module("torch")
    torch.set_num_threads(threads)
    model = network.torch(torch)
    kind = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[optimizer]
    update = kind(model.parameters(), lr=RATE)

    def step(inputs: Array, labels: Array) -> float:
        loss = torch.nn.functional.cross_entropy(
            model(torch.from_numpy(inputs)), torch.from_numpy(labels)
        )
        loss.backward()
        update.step()
        update.zero_grad()
        return float(loss.detach())

    return step


def candidates(network: Network, optimizer: str, threads: int, folder: Path) -> dict[str, Step]:
    """What is measured, by name."""
    model = network.model()
    graphs = build_graphs(from_proto(model), "cross-entropy", optimizer)
    bf16 = graphs.under(load_recipe("bf16"))
    save_artifacts(make_artifacts(bf16, make_ort_optimizer(optimizer)), folder / "bf16")
    (folder / "own").mkdir()
    generate(model, folder / "own", optimizer)
    made: dict[str, Step] = {
        ANCHOR: module_step(folder / "own", threads),
        "ONNX Runtime's Module, our artifacts, bf16": module_step(folder / "bf16", threads),
        OURS: trainer_step(graphs.under(load_recipe("none")), threads),
        "our trainer, bf16": trainer_step(bf16, threads),
        **{
            f"our trainer, {name}": trainer_step(graphs.under(load_recipe(name)), threads)
            for name in ("avx512-bf16", "amx-bf16")
        },
    }
    if importlib.util.find_spec("torch"):
        made["PyTorch eager, float32"] = torch_step(network, optimizer, threads)
    return made


def check_first_losses(steps: dict[str, Step], batch: tuple[Array, Array]) -> None:
    """Take a step of each; end where two do not train the same network on the same batch."""
    losses = {name: step(*batch) for name, step in steps.items() if "PyTorch" not in name}
    for name, loss in losses.items():
        if abs(loss - losses[ANCHOR]) > 0.01 * losses[ANCHOR]:
            raise SystemExit(f"{name}: the first loss is {loss}, not {losses[ANCHOR]}")


def measure(
    steps: dict[str, Step], batch: tuple[Array, Array], rounds: int, count: int
) -> dict[str, list[tuple[float, float]]]:
    """Seconds for a step, and the processor's, for each round; each candidate is first in turn."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    names = list(steps)
    for index in range(-2, rounds):  # two rounds to warm up
        for name in names[index % len(names) :] + names[: index % len(names)]:
            time.sleep(REST)
            start, busy = time.perf_counter(), time.process_time()
            for _ in range(count):
                steps[name](*batch)
            passed, used = time.perf_counter() - start, time.process_time() - busy
            if index >= 0:
                seconds[name].append((passed / count, used / count))
    return seconds


def ratio(found: Sequence[float], anchor: Sequence[float]) -> str:
    """The median of the ratios, round by round."""
    return f"{statistics.median(a / b for a, b in zip(found, anchor, strict=True)):.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--steps", type=int, default=3, help="of each candidate in a round")
    parser.add_argument("--optimizer", choices=["adamw", "sgd"], default="adamw")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=list(NETWORKS), help="one network alone")
    options = parser.parse_args()
    table = Table("network", "step of", "ms", "/ Module", "/ our float32", "CPU", box=None)
    for name, network in NETWORKS.items():
        if options.only not in (None, name):
            continue
        with tempfile.TemporaryDirectory() as folder:
            steps = candidates(network, options.optimizer, options.threads, Path(folder))
            batch = network.batch(np.random.default_rng(1))
            check_first_losses(steps, batch)
            seconds = measure(steps, batch, options.rounds, options.steps)
        passed = {what: [each for each, _ in found] for what, found in seconds.items()}
        used = {what: [each for _, each in found] for what, found in seconds.items()}
        for what, found in passed.items():
            ratios = (ratio(found, passed[other]) for other in (ANCHOR, OURS))
            least = f"{1000 * min(found):.1f}"
            table.add_row(name, what, least, *ratios, ratio(used[what], used[OURS]))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()

"""Time of training's operators on our kernels over ONNX Runtime's own, and of whole steps.

    python benchmarks/bench_gradients.py [--rounds N] [--only TEXT]

Both run in turn in one process, on the same numbers; ratios are medians over the rounds, each of
two runs made one after the other, so what slows the machine down for a while slows both.
Milliseconds are those of the fastest round. Shapes are those of the networks of models.py and of a
ResNet-50.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import onnx
from models import LENGTH, NETWORKS, WIDTH, Array
from onnx import ModelProto, helper
from rich.console import Console
from rich.table import Table

from onnxbf.custom_ops.registry import DOMAIN, VERSION
from onnxbf.passes.recompute_probabilities import RecomputeProbabilities
from onnxbf.passes.replace_gradients import ReplaceGradients
from onnxbf.protos import from_proto, to_proto
from onnxbf.recipe import load_recipe
from onnxbf.report import Report
from onnxbf.session import make_session
from onnxbf.training.graphs import TrainingGraphs, build_graphs

THREADS = (1, 2)
THEIRS = "com.microsoft"
BATCH, VOCABULARY = 32, 1000  # of the transformer
ONNX = (  # of ONNX's domain in ONNX Runtime
    "LayerNormalization",
    "MaxPool",
    "MaxPoolGrad",
    "ReduceSum",
    "SoftmaxCrossEntropyLoss",
)
INDICES = "indices"
Feeds = dict[str, Array]

INPUT, WEIGHTS = ("dx",), ("", "dw", "db")
# name, x, w, stride, what is asked for: that of the input of a first layer is not
CONVOLUTIONS = (
    ("CNN, layer 1, weights", (64, 3, 32, 32), (16, 3, 3, 3), 1, WEIGHTS),
    ("CNN, layer 2, weights", (64, 16, 16, 16), (32, 16, 3, 3), 1, WEIGHTS),
    ("CNN, layer 2, input", (64, 16, 16, 16), (32, 16, 3, 3), 1, INPUT),
    ("CNN, layer 3, weights", (64, 32, 8, 8), (64, 32, 3, 3), 1, WEIGHTS),
    ("CNN, layer 3, input", (64, 32, 8, 8), (64, 32, 3, 3), 1, INPUT),
    ("ResNet, 64 of 56x56, weights", (8, 64, 56, 56), (64, 64, 3, 3), 1, WEIGHTS),
    ("ResNet, 64 of 56x56, input", (8, 64, 56, 56), (64, 64, 3, 3), 1, INPUT),
    ("ResNet, 128 of 28x28, stride 2, weights", (8, 128, 56, 56), (128, 128, 3, 3), 2, WEIGHTS),
    ("ResNet, 128 of 28x28, stride 2, input", (8, 128, 56, 56), (128, 128, 3, 3), 2, INPUT),
    ("ResNet, 512 of 7x7, weights", (8, 512, 7, 7), (512, 512, 3, 3), 1, WEIGHTS),
    ("ResNet, 512 of 7x7, input", (8, 512, 7, 7), (512, 512, 3, 3), 1, INPUT),
)


@dataclass(frozen=True)
class Pair:
    """The same computation on both kernels."""

    name: str
    theirs: ModelProto
    ours: ModelProto
    feeds: Feeds


def normal(*shape: int) -> Array:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


def single(
    op_type: str, name: str, feeds: Feeds, outputs: tuple[str, ...], **attributes: Any
) -> Pair:
    """One node."""

    def model(domain: str) -> ModelProto:
        known = {**attributes}
        sizes = known.get("spatial") if domain == DOMAIN else known.pop("spatial", None)
        shape = None if sizes is None else [*feeds["dy"].shape[:2], *sizes]
        node = helper.make_node(op_type, [*feeds], outputs, domain=domain, **known)
        inputs = [
            helper.make_tensor_value_info(key, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for key, a in feeds.items()
        ]
        results = [
            helper.make_tensor_value_info(key, 7 if key == INDICES else 1, shape)
            for key in outputs
            if key
        ]
        graph = helper.make_graph([node], "single", inputs, results)
        opsets = [helper.make_opsetid(*pair) for pair in (("", 17), (THEIRS, 1), (DOMAIN, VERSION))]
        return helper.make_model(graph, ir_version=8, opset_imports=opsets)

    theirs = model("" if op_type in ONNX else THEIRS)
    return Pair(f"{op_type}: {name}", theirs, model(DOMAIN), feeds)


def nodes() -> Iterator[Pair]:
    """Single nodes."""
    for name, shape in (
        ("CNN, layer 1", (64, 16, 32, 32)),
        ("transformer", (BATCH, LENGTH, 4 * WIDTH)),
    ):
        yield single("ReluGrad", name, {"dy": normal(*shape), "x": normal(*shape)}, ("dx",))
    for name, x, w, stride, outputs in CONVOLUTIONS:
        out = [(size - 1) // stride + 1 for size in x[2:]]
        feeds = {"dy": normal(x[0], w[0], *out), "x": normal(*x), "w": normal(*w)}
        around = {"pads": [1, 1, 1, 1], "strides": [stride, stride], "kernel_shape": w[2:]}
        yield single("ConvGrad", name, feeds, outputs, **around)
    statistics_ = {"mean": normal(BATCH, LENGTH, 1), "deviation": abs(normal(BATCH, LENGTH, 1))}
    shape = (BATCH, LENGTH, WIDTH)
    feeds = {"dy": normal(*shape), "x": normal(*shape), "scale": normal(WIDTH), **statistics_}
    outputs = ("dx", "dscale", "dbias")
    yield single("LayerNormalizationGrad", "transformer", feeds, outputs, axis=-1, epsilon=1e-5)
    feeds = {"x": normal(*shape), "scale": normal(WIDTH), "bias": normal(WIDTH)}
    yield single("LayerNormalization", "transformer", feeds, ("y", "mean", "inverse"), axis=-1)
    scores = {name: abs(normal(BATCH, 4, LENGTH, LENGTH)) for name in ("dy", "y")}
    yield single("SoftmaxGrad_13", "transformer", scores, ("dx",), axis=-1)
    for columns in (VOCABULARY, 4 * WIDTH, WIDTH):
        feeds = {"dy": normal(BATCH, LENGTH, columns), "axes": np.array([0, 1])}
        yield single("ReduceSum", f"bias of {columns}", feeds, ("db",), keepdims=0)
    for rows in (1000, 30000):
        indices = np.random.default_rng(0).integers(0, rows, (BATCH, LENGTH))
        feeds = {"shape": np.array([rows, WIDTH]), "indices": indices, "dy": normal(*shape)}
        yield single("GatherGrad", f"{rows} rows of {WIDTH}", feeds, ("dx",), axis=0)
    yield from poolings()
    yield from losses()


def poolings() -> Iterator[Pair]:
    """Pooling by twos after each layer of the CNN."""
    halves = {"kernel_shape": [2, 2], "strides": [2, 2]}
    for name, shape in (("layer 1", (64, 16, 32, 32)), ("layer 3", (64, 64, 8, 8))):
        x = normal(*shape)
        places = np.arange(x.size).reshape(shape)[:, :, ::2, ::2].copy()
        yield single("MaxPool", f"CNN, {name}", {"x": x}, ("y", INDICES), **halves)
        feeds = {"dy": normal(*places.shape), INDICES: places}
        sizes = {"spatial": shape[2:], **halves}
        yield single("MaxPoolGrad", f"CNN, {name}", feeds, ("dx",), **sizes)


def losses() -> Iterator[Pair]:
    """The loss of the transformer."""
    logits = normal(BATCH * LENGTH, VOCABULARY)
    labels = np.arange(len(logits)) % VOCABULARY
    given, outputs = {"x": logits, "labels": labels}, ("loss", "p")
    yield single("SoftmaxCrossEntropyLoss", "transformer", given, outputs)
    dy = np.ones((), np.float32)
    feeds = {"dy": dy, "p": logits - np.float32(8), "labels": labels}
    yield single("SoftmaxCrossEntropyLossGrad", "transformer", feeds, ("dx",))
    theirs = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["" : 17, "{THEIRS}" : 1]>
    g (float[n,k] x, int64[n] labels, float dy) => (float loss, float[n,k] dx) <float[n,k] p> {{
        loss, p = SoftmaxCrossEntropyLoss (x, labels)
        dx = {THEIRS}.SoftmaxCrossEntropyLossGrad (dy, p, labels)
    }}""")
    ours, report = from_proto(theirs), Report("none")
    ReplaceGradients(report)(ours)
    RecomputeProbabilities(report)(ours)
    name = "SoftmaxCrossEntropyLoss, and its gradient: transformer"
    yield Pair(name, theirs, to_proto(ours), {**given, "dy": dy})


def graphs() -> Iterator[Pair]:
    """The forward and backward graphs of whole networks."""
    for name, network in NETWORKS.items():
        built: TrainingGraphs = build_graphs(from_proto(network.model()), "cross-entropy", "sgd")
        inputs, labels = network.batch(np.random.default_rng(1))
        first = built.gradient.graph.inputs[0].name or ""
        given = {first: inputs, built.attached.labels[0]: labels}
        feeds = {**built.state, **given, "loss_scale": np.ones((), np.float32)}
        wanted = {value.name for value in built.gradient.graph.inputs}
        feeds = {key: array for key, array in feeds.items() if key in wanted}
        ours = to_proto(built.under(load_recipe("none")).gradient)
        yield Pair(f"step without update: {name}", to_proto(built.gradient), ours, feeds)


def seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def measure(pair: Pair, threads: int, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of their kernels and of ours, round by round."""
    runs = [
        partial(make_session(model.SerializeToString(), threads=threads).run, None, pair.feeds)
        for model in (pair.theirs, pair.ours)
    ]
    for run in runs * 2:
        run()
    found: tuple[list[float], list[float]] = ([], [])
    for index in range(rounds):
        for which in (0, 1) if index % 2 else (1, 0):
            found[which].append(seconds(runs[which]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--only", default="", help="what names contain")
    options = parser.parse_args()
    table = Table("gradient", "threads", "ONNX Runtime, ms", "ours, ms", "ours / theirs", box=None)
    for pair in (*nodes(), *graphs()):
        if options.only not in pair.name:
            continue
        for threads in THREADS:
            theirs, ours = measure(pair, threads, options.rounds)
            ratio = statistics.median(b / a for a, b in zip(theirs, ours, strict=True))
            times = (f"{1000 * min(times):.2f}" for times in (theirs, ours))
            table.add_row(pair.name, str(threads), *times, f"{ratio:.2f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()

"""scikit-learn's handwritten digits, and small networks that learn them."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from onnxbf.builder import Builder
from onnxbf.graph import Names
from onnxbf.recipe import load_recipe
from onnxbf.training.graphs import TrainingGraphs, build_graphs
from onnxbf.training.loss_scale import LossScale
from onnxbf.training.trainer import Trainer

Array = NDArray[Any]
BATCH = 32


@dataclass(frozen=True)
class Digits:
    """Images of 8 by 8 from 0 to 1, a channel each, and what they show."""

    images: Array
    labels: Array
    test_images: Array
    test_labels: Array


@functools.cache
def digits() -> Digits:
    """1,257 digits to learn and 540 to be tested on."""
    data, target = load_digits(return_X_y=True)
    images = (data / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    order = np.random.default_rng(0).permutation(len(images))
    train, test = order[:-540], order[-540:]
    return Digits(images[train], target[train], images[test], target[test])


class Network:
    """A model under construction; its weights are drawn as He et al. (2015) do, biases are 0."""

    def __init__(self, seed: int) -> None:
        image = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT))
        image.shape = ir.Shape(["N", 1, 8, 8])
        graph = ir.Graph([image], [], nodes=[], opset_imports={"": 18}, name="digits")
        self.model = ir.Model(graph, ir_version=10)
        self.last: ir.Value = image
        self._build = Builder(Names(self.model), "net")
        self._rng = np.random.default_rng(seed)

    def conv(self, channels_in: int, channels: int) -> Network:
        weights = self._weights(channels, channels_in, 3, 3), self._bias(channels)
        self.last = self._build.Conv(self.last, *weights, pads=[1, 1, 1, 1])
        return self

    def dense(self, size_in: int, size: int) -> Network:
        weights = self._weights(size, size_in), self._bias(size)
        self.last = self._build.Gemm(self.last, *weights, transB=1)
        return self

    def then(self, op_type: str, **attributes: Any) -> Network:
        self.last = self._build.node(op_type, [self.last], **attributes)
        return self

    def finish(self) -> ir.Model:
        self.last.name, self.last.dtype = "logits", ir.DataType.FLOAT
        self.last.shape = ir.Shape(["N", 10])
        self.model.graph.extend(self._build.nodes)
        self.model.graph.outputs.append(self.last)
        return self.model

    def _weights(self, *shape: int) -> ir.Value:
        deviation = np.sqrt(2 / np.prod(shape[1:]))
        return self._parameter(self._rng.normal(0, deviation, shape))

    def _bias(self, size: int) -> ir.Value:
        return self._parameter(np.zeros(size))

    def _parameter(self, numbers: Array) -> ir.Value:
        name = f"p{len(self.model.graph.initializers)}"
        tensor = ir.tensor(numbers.astype(np.float32), name=name)
        value = ir.Value(name=name, const_value=tensor, shape=tensor.shape)
        value.type = ir.TensorType(ir.DataType.FLOAT)
        self.model.graph.register_initializer(value)
        return value


def mlp(seed: int) -> ir.Model:
    """64, 128, 64, 10 units, with ReLU between."""
    net = Network(seed).then("Flatten").dense(64, 128).then("Relu").dense(128, 64).then("Relu")
    return net.dense(64, 10).finish()


def cnn(seed: int) -> ir.Model:
    """Two convolutions of 3 by 3, to 8 and 16 channels, with ReLU; pooling; a dense layer."""
    net = Network(seed).conv(1, 8).then("Relu").conv(8, 16).then("Relu")
    pooled = net.then("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    return pooled.then("Flatten").dense(256, 10).finish()


def graphs_of(model: ir.Model, optimizer: str) -> TrainingGraphs:
    return build_graphs(model, "cross-entropy", optimizer)


@dataclass(frozen=True)
class Outcome:
    """What training came to: share of test digits told right, mean loss of the last epoch."""

    accuracy: float
    loss: float
    trainer: Trainer

    @property
    def state(self) -> dict[str, Array]:
        return self.trainer.state()


def learn(
    graphs: TrainingGraphs,
    recipe: str,
    rate: float,
    epochs: int,
    *,
    seed: int = 0,
    scale: float = 1.0,
    threads: int = 1,
) -> Outcome:
    """Train under a recipe; the seed gives the order of the digits alone."""
    under = graphs.under(load_recipe(recipe))
    trainer = Trainer(under, loss_scale=LossScale(scale), threads=threads, stop_on_nan=False)
    rng = np.random.default_rng(seed)
    losses: list[float] = []
    for _ in range(epochs):
        losses = [trainer.step([batch], rate).loss for batch in batches(graphs, rng)]
    data = digits()
    labels = graphs.attached.labels[0]
    _, (logits,) = trainer.evaluate({"x": data.test_images, labels: data.test_labels})
    accuracy = float(np.mean(logits.argmax(1) == data.test_labels))
    return Outcome(accuracy, float(np.mean(losses)), trainer)


def batches(graphs: TrainingGraphs, rng: np.random.Generator) -> Iterator[Mapping[str, Array]]:
    """One epoch in random order, without the incomplete batch at its end."""
    data = digits()
    order = rng.permutation(len(data.images))
    labels = graphs.attached.labels[0]
    for start in range(0, len(order) - BATCH + 1, BATCH):
        rows = order[start : start + BATCH]
        yield {"x": data.images[rows], labels: data.labels[rows]}

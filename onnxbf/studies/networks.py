"""Networks of studies, built layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxbf.builder import Builder
from onnxbf.graph import Names

Array = NDArray[Any]


Draw = Callable[[np.random.Generator, Sequence[int], int], Array]


def he_normal(rng: np.random.Generator, shape: Sequence[int], fan_in: int) -> Array:
    """Weights as He et al. (2015) draw them, and biases of 0."""
    return rng.normal(0, np.sqrt(2 / fan_in), shape) if len(shape) > 1 else np.zeros(shape)


def uniform(rng: np.random.Generator, shape: Sequence[int], fan_in: int) -> Array:
    """Weights and biases as PyTorch draws them by default: uniform up to 1 / sqrt(fan_in)."""
    numbers: Array = rng.uniform(-1, 1, shape) / np.sqrt(fan_in)
    return numbers


class Network:
    """A model under construction.

    Args:
        seed: of the weights.
        shape: of an example.
        draw: gives weights and biases of a shape, by the number of inputs that a unit sums.
    """

    def __init__(self, seed: int, shape: Sequence[int], draw: Draw = he_normal) -> None:
        image = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT))
        image.shape = ir.Shape(["N", *shape])
        graph = ir.Graph([image], [], nodes=[], opset_imports={"": 18}, name="network")
        self.model = ir.Model(graph, ir_version=10)
        self.last: ir.Value = image
        self._build = Builder(Names(self.model), "net")
        self._rng, self._draw = np.random.default_rng(seed), draw

    def conv(self, channels_in: int, channels: int) -> Network:
        """A convolution of 3 by 3 that keeps the size."""
        weights = self._weights(channels, channels_in, 3, 3)
        self.last = self._build.Conv(self.last, *weights, pads=[1, 1, 1, 1])
        return self

    def dense(self, size_in: int, size: int) -> Network:
        weights = self._weights(size, size_in)
        self.last = self._build.Gemm(self.last, *weights, transB=1)
        return self

    def product(self, size_in: int, size: int, deviation: float) -> Network:
        """A dense layer without bias, its weights drawn from a normal distribution."""
        weight = self._parameter(self._rng.normal(0, deviation, (size_in, size)))
        self.last = self._build.MatMul(self.last, weight)
        return self

    def then(self, op_type: str, **attributes: Any) -> Network:
        """A node without weights."""
        self.last = self._build.node(op_type, [self.last], **attributes)
        return self

    def finish(self, size: int) -> ir.Model:
        """The model, whose output ``logits`` is (N, size)."""
        self.last.name, self.last.dtype = "logits", ir.DataType.FLOAT
        self.last.shape = ir.Shape(["N", size])
        self.model.graph.extend(self._build.nodes)
        self.model.graph.outputs.append(self.last)
        return self.model

    def _weights(self, *shape: int) -> tuple[ir.Value, ir.Value]:
        """A weight and its bias."""
        fan_in = int(np.prod(shape[1:]))
        made = [self._draw(self._rng, each, fan_in) for each in (shape, shape[:1])]
        return self._parameter(made[0]), self._parameter(made[1])

    def _parameter(self, numbers: Array) -> ir.Value:
        name = f"p{len(self.model.graph.initializers)}"
        tensor = ir.tensor(numbers.astype(np.float32), name=name)
        value = ir.Value(name=name, const_value=tensor, shape=ir.Shape(numbers.shape))
        value.type = ir.TensorType(ir.DataType.FLOAT)
        self.model.graph.register_initializer(value)
        return value


def digits_mlp(seed: int) -> ir.Model:
    """64, 128, 64, 10 units, with ReLU between."""
    net = Network(seed, (1, 8, 8)).then("Flatten").dense(64, 128).then("Relu")
    return net.dense(128, 64).then("Relu").dense(64, 10).finish(10)


def digits_cnn(seed: int) -> ir.Model:
    """Two convolutions of 3 by 3, to 8 and 16 channels, with ReLU; pooling; a dense layer."""
    net = Network(seed, (1, 8, 8)).conv(1, 8).then("Relu").conv(8, 16).then("Relu")
    pooled = net.then("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    return pooled.then("Flatten").dense(256, 10).finish(10)

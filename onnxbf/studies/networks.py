"""Networks of studies, built layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxbf.builder import Builder
from onnxbf.graph import LOSS_PREFIX, Names

Array = NDArray[Any]


Draw = Callable[[np.random.Generator, Sequence[int], int], Array]
FLOAT, INT64 = ir.DataType.FLOAT, ir.DataType.INT64


def he_normal(rng: np.random.Generator, shape: Sequence[int], fan_in: int) -> Array:
    """Weights as He et al. (2015) draw them, and biases of 0."""
    return rng.normal(0, np.sqrt(2 / fan_in), shape) if len(shape) > 1 else np.zeros(shape)


def uniform(rng: np.random.Generator, shape: Sequence[int], fan_in: int) -> Array:
    """Weights and biases as PyTorch draws them by default: uniform up to 1 / sqrt(fan_in)."""
    numbers: Array = rng.uniform(-1, 1, shape) / np.sqrt(fan_in)
    return numbers


class Network:
    """A model under construction: layers act on ``last`` and replace it.

    Args:
        seed: of the weights.
        shape: of an example of input ``x``.
        draw: gives weights and biases of a shape, by the number of inputs that a unit sums.
        dtype: of ``x``.

    Attributes:
        build: adds nodes that no layer stands for.
        loss: likewise, of a loss, which no recipe rounds.
        part: what the names of weights made from now on begin with.
    """

    def __init__(
        self,
        seed: int,
        shape: Sequence[int],
        draw: Draw = he_normal,
        dtype: ir.DataType = FLOAT,
    ) -> None:
        graph = ir.Graph([], [], nodes=[], opset_imports={"": 18}, name="network")
        self.model = ir.Model(graph, ir_version=10)
        self.last = self.input("x", shape, dtype)
        names = Names(self.model)
        self.build, self.loss = Builder(names, "net"), Builder(names, LOSS_PREFIX.rstrip("/"))
        self.loss.nodes = self.build.nodes
        self.part = ""
        self._rng, self._draw = np.random.default_rng(seed), draw

    def input(self, name: str, shape: Sequence[int], dtype: ir.DataType = FLOAT) -> ir.Value:
        """A further input, (N, *shape)."""
        value = ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(["N", *shape]))
        self.model.graph.inputs.append(value)
        return value

    def at(self, value: ir.Value) -> Network:
        """Go on from a value."""
        self.last = value
        return self

    def conv(self, channels_in: int, channels: int, kernel: int = 3, stride: int = 1) -> Network:
        """A convolution that keeps the size, or divides it by ``stride``; ``kernel`` is odd."""
        weights = self._weights(channels, channels_in, kernel, kernel)
        pads, strides = [kernel // 2] * 4, [stride] * 2
        self.last = self.build.Conv(self.last, *weights, pads=pads, strides=strides)
        return self

    def deconv(self, channels_in: int, channels: int) -> Network:
        """A transposed convolution of 4 by 4 that doubles the size."""
        weight = self._draw(self._rng, (channels_in, channels, 4, 4), channels_in * 4)
        operands = self.last, self.parameter(weight), self.parameter(np.zeros(channels))
        self.last = self.build.ConvTranspose(*operands, pads=[1] * 4, strides=[2, 2])
        return self

    def norm(self, channels: int) -> Network:
        """Batch normalization."""
        start = (1.0, 0.0, 0.0, 1.0)  # scale, bias; running mean and variance
        made = [self.parameter(np.full(channels, number)) for number in start]
        self.last = self.build.BatchNormalization(self.last, *made)
        return self

    def layer_norm(self, size: int) -> Network:
        scale, bias = self.parameter(np.ones(size)), self.parameter(np.zeros(size))
        self.last = self.build.LayerNormalization(self.last, scale, bias)
        return self

    def dense(self, size_in: int, size: int) -> Network:
        weights = self._weights(size, size_in)
        self.last = self.build.Gemm(self.last, *weights, transB=1)
        return self

    def product(self, size_in: int, size: int, deviation: float) -> Network:
        """A dense layer without bias, its weights drawn from a normal distribution."""
        weight = self.parameter(self._rng.normal(0, deviation, (size_in, size)))
        self.last = self.build.MatMul(self.last, weight)
        return self

    def rows(self, size_in: int, size: int) -> Network:
        """A dense layer on the last axis, whatever stands before it."""
        self.product(size_in, size, np.sqrt(1 / size_in))
        self.last = self.build.Add(self.last, self.parameter(np.zeros(size)))
        return self

    def embed(self, count: int, size: int, deviation: float = 0.1) -> Network:
        """Look integers below ``count`` up in a table of vectors."""
        table = self.parameter(self._rng.normal(0, deviation, (count, size)))
        self.last = self.build.Gather(table, self.last)
        return self

    def recurrent(self, op_type: str, size_in: int, size: int, directions: int = 1) -> Network:
        """A GRU or LSTM: (T, N, size_in) to (T, N, directions * size)."""
        gates = {"GRU": 3, "LSTM": 4}[op_type] * size
        shapes = (directions, gates, size_in), (directions, gates, size), (directions, 2 * gates)
        weights = [self.parameter(uniform(self._rng, shape, size)) for shape in shapes]
        direction = "bidirectional" if directions == 2 else "forward"
        y: ir.Value = self.build.node(
            op_type, [self.last, *weights], hidden_size=size, direction=direction
        )
        y = self.build.Transpose(y, perm=[0, 2, 1, 3])
        self.last = self.build.Reshape(y, self.build.integers(0, 0, directions * size))
        return self

    def dropout(self, share: float) -> Network:
        training = self.build.constant(True, ir.DataType.BOOL)
        self.last = self.build.Dropout(self.last, self.build.constant(share), training)
        return self

    def then(self, op_type: str, **attributes: Any) -> Network:
        """A node without weights."""
        self.last = self.build.node(op_type, [self.last], **attributes)
        return self

    def output(self, name: str, *sizes: int, batch: bool = True) -> Network:
        """Give ``last`` out: (N, *sizes), or without N."""
        self.last.name, self.last.dtype = name, FLOAT
        self.last.shape = ir.Shape(["N", *sizes] if batch else sizes)
        self.model.graph.outputs.append(self.last)
        return self

    def close(self) -> ir.Model:
        """The model as it stands."""
        self.model.graph.extend(self.build.nodes)
        return self.model

    def finish(self, *sizes: int) -> ir.Model:
        """The model, whose output ``logits`` is (N, *sizes)."""
        return self.output("logits", *sizes).close()

    def parameter(self, numbers: Array) -> ir.Value:
        """A weight."""
        made = self.model.graph.initializers
        name = f"{self.part}p{sum(each.startswith(f'{self.part}p') for each in made)}"
        tensor = ir.tensor(numbers.astype(np.float32), name=name)
        value = ir.Value(name=name, const_value=tensor, shape=ir.Shape(numbers.shape))
        value.type = ir.TensorType(FLOAT)
        self.model.graph.register_initializer(value)
        return value

    def _weights(self, *shape: int) -> tuple[ir.Value, ir.Value]:
        """A weight and its bias."""
        fan_in = int(np.prod(shape[1:]))
        made = [self._draw(self._rng, each, fan_in) for each in (shape, shape[:1])]
        return self.parameter(made[0]), self.parameter(made[1])


def digits_mlp(seed: int) -> ir.Model:
    """64, 128, 64, 10 units, with ReLU between."""
    net = Network(seed, (1, 8, 8)).then("Flatten").dense(64, 128).then("Relu")
    return net.dense(128, 64).then("Relu").dense(64, 10).finish(10)


def digits_cnn(seed: int) -> ir.Model:
    """Two convolutions of 3 by 3, to 8 and 16 channels, with ReLU; pooling; a dense layer."""
    net = Network(seed, (1, 8, 8)).conv(1, 8).then("Relu").conv(8, 16).then("Relu")
    pooled = net.then("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    return pooled.then("Flatten").dense(256, 10).finish(10)


def scalar_model(
    inputs: Mapping[str, Sequence[int]],
    weights: Mapping[str, Array],
    emit: Callable[[Builder, Mapping[str, ir.Value]], ir.Value],
) -> ir.Model:
    """A model of one number.

    Args:
        inputs: shapes by name.
        weights: the initializers by name.
        emit: builds the number from the values of inputs and weights.
    """
    kind = ir.TensorType(ir.DataType.FLOAT)
    given = {name: ir.Value(name=name, type=kind, shape=ir.Shape(s)) for name, s in inputs.items()}
    graph = ir.Graph([*given.values()], [], nodes=[], opset_imports={"": 18}, name="scalar")
    model = ir.Model(graph, ir_version=10)
    for name, array in weights.items():
        tensor = ir.tensor(array, name=name)
        value = ir.Value(name=name, type=kind, const_value=tensor, shape=ir.Shape(array.shape))
        graph.register_initializer(value)
        given[name] = value
    build = Builder(Names(model), "net")
    result = emit(build, given)
    result.name, result.type, result.shape = "result", kind, ir.Shape([])
    graph.extend(build.nodes)
    graph.outputs.append(result)
    return model

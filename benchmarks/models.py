"""The networks of benchmarks, as ONNX models built by hand and, where it is installed, in PyTorch.

Both forms have the same layers and sizes; weights are random. Models are of opset 17, with the
optional outputs that ONNX Runtime's gradient builder asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]

CHANNELS, IMAGE, CLASSES = (16, 32, 64), 32, 10
WIDTH, LAYERS, HEADS, LENGTH, VOCABULARY = 128, 2, 4, 64, 1000


@dataclass
class _Graph:
    """Collects nodes and weights."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: dict[str, Array] = field(default_factory=dict)
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def add(self, op_type: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """A node; the name of its first output."""
        name = f"{op_type.lower()}{len(self.nodes)}"
        names = [name, *(f"{name}_{index}" for index in range(1, outputs))]
        self.nodes.append(helper.make_node(op_type, inputs, names, name=name, **attributes))
        return name

    def weight(self, name: str, *shape: int, scale: float | None = None) -> str:
        """A random weight; ``scale`` is 1 over the root of the first size unless given."""
        spread = shape[0] ** -0.5 if scale is None else scale
        self.weights[name] = self.random.normal(0, spread, shape).astype(np.float32)
        return name

    def constant(self, name: str, array: Sequence[int] | float) -> str:
        """A number or a shape that is not trained."""
        kind = np.float32 if isinstance(array, float) else np.int64
        self.weights[name] = np.array(array, kind)
        return name

    def linear(self, x: str, name: str, before: int, after: int) -> str:
        product = self.add("MatMul", x, self.weight(f"{name}.weight", before, after))
        return self.add("Add", product, self.weight(f"{name}.bias", after, scale=0.0))

    def norm(self, x: str, name: str) -> str:
        scale, bias = f"{name}.weight", self.weight(f"{name}.bias", WIDTH, scale=0.0)
        self.weights[scale] = np.ones(WIDTH, np.float32)
        return self.add("LayerNormalization", x, scale, bias, outputs=3, axis=-1, epsilon=1e-5)

    def model(self, x: onnx.ValueInfoProto, y: str, shape: Sequence[int | str]) -> onnx.ModelProto:
        output = helper.make_tensor_value_info(y, TensorProto.FLOAT, shape)
        weights = [numpy_helper.from_array(array, name) for name, array in self.weights.items()]
        graph = helper.make_graph(self.nodes, "network", [x], [output], weights)
        return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def cnn() -> onnx.ModelProto:
    """Three times convolution 3x3, Relu, pooling; then a linear layer."""
    graph, last, before = _Graph(), "images", 3
    for index, after in enumerate(CHANNELS):
        weight = graph.weight(f"{index}.weight", after, before, 3, 3, scale=(before * 9) ** -0.5)
        bias = graph.weight(f"{index}.bias", after, scale=0.0)
        last = graph.add("Conv", last, weight, bias, pads=[1, 1, 1, 1], kernel_shape=[3, 3])
        last = graph.add("Relu", last)
        last = graph.add("MaxPool", last, outputs=2, kernel_shape=[2, 2], strides=[2, 2])
        before = after
    size = before * (IMAGE >> len(CHANNELS)) ** 2
    last = graph.linear(graph.add("Flatten", last), "classifier", size, CLASSES)
    shape = ["batch", 3, IMAGE, IMAGE]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)
    return graph.model(images, last, ["batch", CLASSES])


def transformer() -> onnx.ModelProto:
    """A language model: embeddings, layers of attention and Relu, norms before each; logits."""
    graph = _Graph()
    table = graph.weight("embedding", VOCABULARY, WIDTH, scale=0.02)
    place = graph.weight("position", LENGTH, WIDTH, scale=0.02)
    last = graph.add("Add", graph.add("Gather", table, "tokens"), place)
    for index in range(LAYERS):
        attended = _attention(graph, graph.norm(last, f"{index}.norm1"), f"{index}.attention")
        last = graph.add("Add", last, attended)
        inner = graph.linear(graph.norm(last, f"{index}.norm2"), f"{index}.up", WIDTH, 4 * WIDTH)
        inner = graph.linear(graph.add("Relu", inner), f"{index}.down", 4 * WIDTH, WIDTH)
        last = graph.add("Add", last, inner)
    last = graph.linear(graph.norm(last, "norm"), "head", WIDTH, VOCABULARY)
    last = graph.add("Reshape", last, graph.constant("rows", (-1, VOCABULARY)))
    tokens = helper.make_tensor_value_info("tokens", TensorProto.INT64, ["batch", LENGTH])
    return graph.model(tokens, last, ["rows", VOCABULARY])


def _attention(graph: _Graph, x: str, name: str) -> str:
    heads = graph.constant(f"{name}.heads", (0, LENGTH, HEADS, WIDTH // HEADS))
    whole = graph.constant(f"{name}.whole", (0, LENGTH, WIDTH))
    scale = graph.constant(f"{name}.scale", float((WIDTH // HEADS) ** -0.5))

    def head(part: str, order: Sequence[int]) -> str:
        projected = graph.linear(x, f"{name}.{part}", WIDTH, WIDTH)
        return graph.add("Transpose", graph.add("Reshape", projected, heads), perm=order)

    query, key, value = head("q", (0, 2, 1, 3)), head("k", (0, 2, 3, 1)), head("v", (0, 2, 1, 3))
    scores = graph.add("Mul", graph.add("MatMul", query, key), scale)
    mixed = graph.add("MatMul", graph.add("Softmax", scores, axis=-1), value)
    mixed = graph.add("Reshape", graph.add("Transpose", mixed, perm=(0, 2, 1, 3)), whole)
    return graph.linear(mixed, f"{name}.out", WIDTH, WIDTH)


@dataclass(frozen=True)
class Network:
    """A network of both kinds, and a batch for it.

    Attributes:
        model: builds the ONNX model, whose one output are logits.
        torch: builds the same with ``torch``, which it is given.
        batch: the input and the labels.
    """

    model: Callable[[], onnx.ModelProto]
    torch: Callable[[Any], Any]
    batch: Callable[[np.random.Generator], tuple[Array, Array]]


def _images(random: np.random.Generator) -> tuple[Array, Array]:
    shape = (64, 3, IMAGE, IMAGE)
    return random.normal(size=shape).astype(np.float32), random.integers(0, CLASSES, 64)


def _tokens(random: np.random.Generator) -> tuple[Array, Array]:
    shape = (32, LENGTH)
    return (random.integers(0, VOCABULARY, shape), random.integers(0, VOCABULARY, shape).ravel())


def torch_cnn(torch: Any) -> Any:
    """``cnn`` in PyTorch."""
    nn, layers, before = torch.nn, [], 3
    for after in CHANNELS:
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        before = after
    size = before * (IMAGE >> len(CHANNELS)) ** 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(size, CLASSES))


def torch_transformer(torch: Any) -> Any:
    """``transformer`` in PyTorch, its attention unfused as there."""
    nn = torch.nn

    class Attention(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k, self.v, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

        def forward(self, x: Any) -> Any:
            shape = (len(x), LENGTH, HEADS, WIDTH // HEADS)
            q, k, v = (f(x).reshape(shape).transpose(1, 2) for f in (self.q, self.k, self.v))
            scores = torch.softmax(q @ k.transpose(2, 3) * (WIDTH // HEADS) ** -0.5, dim=-1)
            return self.out((scores @ v).transpose(1, 2).reshape(x.shape))

    class Model(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(VOCABULARY, WIDTH)
            self.position = nn.Parameter(torch.randn(LENGTH, WIDTH) * 0.02)
            self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2 * LAYERS + 1))
            self.attentions = nn.ModuleList(Attention() for _ in range(LAYERS))
            self.inner = nn.ModuleList(
                nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.ReLU(), nn.Linear(4 * WIDTH, WIDTH))
                for _ in range(LAYERS)
            )
            self.head = nn.Linear(WIDTH, VOCABULARY)

        def forward(self, tokens: Any) -> Any:
            x = self.embedding(tokens) + self.position
            for index in range(LAYERS):
                x = x + self.attentions[index](self.norms[2 * index](x))
                x = x + self.inner[index](self.norms[2 * index + 1](x))
            return self.head(self.norms[-1](x)).reshape(-1, VOCABULARY)

    return Model()


NETWORKS: Mapping[str, Network] = {
    "CNN": Network(cnn, torch_cnn, _images),
    "transformer": Network(transformer, torch_transformer, _tokens),
}

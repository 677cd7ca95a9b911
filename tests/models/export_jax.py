"""Exports JAX functions and Flax modules with jax2onnx.

    python tests/models/export_jax.py [NAME...]

Run with Python 3.12 and `pip install jax==0.12.0.1 flax==0.12.12 jax2onnx==0.17.1
onnx==1.23.2 onnxruntime==1.32.0 numpy==2.5.5`.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from export_common import Exported, exported, run, table_of
from flax import nnx
from jax import Array
from jax2onnx import onnx_function, to_onnx

Shape = tuple[int | str, ...]


def export(
    network: Callable[[Array], Array], sample: np.ndarray, shape: Shape, opset: int = 18
) -> Exported:
    """Exports a function of one array, whose `shape` may hold names in place of sizes."""
    outputs = np.asarray(network(jnp.asarray(sample)))  # first: jax2onnx replaces parts of JAX
    model = to_onnx(network, [shape], opset=opset, input_names=["input"], output_names=["output"])
    return exported(model, {"input": sample}, (outputs,))


def normal(*shape: int) -> np.ndarray:
    """Random float32 numbers."""
    return np.random.standard_normal(shape).astype(np.float32)


def dense(rows: int, columns: int) -> tuple[Array, Array]:
    """The weights and bias of a linear layer."""
    return jnp.asarray(normal(rows, columns) / np.sqrt(rows)), jnp.asarray(0.1 * normal(columns))


def jax_mlp() -> Exported:
    """Plain jax.numpy, weights in the function's closure."""
    layers = [dense(12, 32), dense(32, 32), dense(32, 4)]

    def network(features: Array) -> Array:
        state = features
        for weights, bias in layers[:-1]:
            state = jax.nn.gelu(state @ weights + bias)
        weights, bias = layers[-1]
        return jax.nn.log_softmax(state @ weights + bias)

    return export(network, normal(4, 12), ("B", 12))


def jax_attention() -> Exported:
    """Causal self-attention of four heads by einsum, between RMS norms, at opset 21."""
    heads, size, width = 4, 6, 24
    query, key, value = (jnp.asarray(normal(width, heads, size) / 5) for _ in range(3))
    merge = jnp.asarray(normal(heads, size, width) / 5)
    head, bias = dense(width, 10)

    def norm(state: Array) -> Array:
        return state * jax.lax.rsqrt(jnp.mean(state * state, axis=-1, keepdims=True) + 1e-6)

    def network(state: Array) -> Array:
        normed = norm(state)
        q, k, v = (jnp.einsum("bld,dhe->bhle", normed, weight) for weight in (query, key, value))
        scores = jnp.einsum("bhle,bhme->bhlm", q, k) / np.sqrt(size)
        mask = jnp.tril(jnp.ones(scores.shape[-2:], bool))
        weights = jax.nn.softmax(jnp.where(mask, scores, -1e9), axis=-1)
        mixed = jnp.einsum("bhlm,bhme->bhle", weights, v)
        state = state + jnp.einsum("bhle,hed->bld", mixed, merge)
        return norm(state) @ head + bias

    return export(network, normal(2, 7, width), (2, 7, width), opset=21)


def jax_control_flow() -> Exported:
    """A recurrence by lax.scan and a loop that its data ends, both Loop, and a condition, If."""
    (enter, enter_bias), (step, step_bias), (head, head_bias) = (
        dense(6, 16),
        dense(16, 16),
        dense(16, 3),
    )

    def advance(state: Array, features: Array) -> tuple[Array, Array]:
        state = jnp.tanh(features @ enter + enter_bias + state @ step + step_bias)
        return state, state

    def shrink(state: Array) -> Array:
        return 0.8 * jnp.tanh(state @ step)

    def network(series: Array) -> Array:
        last, states = jax.lax.scan(advance, jnp.zeros((2, 16), jnp.float32), series)
        last = jax.lax.while_loop(lambda state: jnp.abs(state).sum() > 1.0, shrink, last)
        mean = jax.lax.cond(states.mean() > 0, lambda x: x.mean(0), lambda x: -x.max(0), states)
        return (last + mean) @ head + head_bias

    return export(network, normal(5, 2, 6), (5, 2, 6))


class Cnn(nnx.Module):
    """Channels last: convolutions, batch normalization, pooling, linear."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.conv1 = nnx.Conv(3, 8, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.conv2 = nnx.Conv(8, 16, (3, 3), strides=2, rngs=rngs)
        self.head = nnx.Linear(16, 5, rngs=rngs)

    def __call__(self, images: Array) -> Array:
        x = nnx.max_pool(self.conv1(images), window_shape=(2, 2), strides=(2, 2))
        x = nnx.relu(self.norm(x))
        return self.head(jnp.mean(nnx.silu(self.conv2(x)), axis=(1, 2)))


def jax_cnn() -> Exported:
    """Flax, with statistics of batch normalization that it has seen."""
    network = Cnn(nnx.Rngs(0))
    for _ in range(20):
        network(jnp.asarray(normal(4, 16, 16, 3) + 0.5))
    network.eval()
    return export(network, normal(2, 16, 16, 3), ("B", 16, 16, 3))


@onnx_function
class FeedForward(nnx.Module):
    """Two linear layers with GELU between; a function of the model."""

    def __init__(self, width: int, rngs: nnx.Rngs) -> None:
        self.grow = nnx.Linear(width, 2 * width, rngs=rngs)
        self.shrink = nnx.Linear(2 * width, width, rngs=rngs)

    def __call__(self, state: Array) -> Array:
        return self.shrink(nnx.gelu(self.grow(state)))


@onnx_function
class Block(nnx.Module):
    """Attention and feed-forward, each after a norm; a function of the model with one inside."""

    def __init__(self, width: int, rngs: nnx.Rngs) -> None:
        self.norm1 = nnx.LayerNorm(width, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(4, width, decode=False, rngs=rngs)
        self.norm2 = nnx.LayerNorm(width, rngs=rngs)
        self.feed_forward = FeedForward(width, rngs)

    def __call__(self, state: Array) -> Array:
        state = state + self.attention(self.norm1(state))
        return state + self.feed_forward(self.norm2(state))


class Transformer(nnx.Module):
    """Two blocks and a linear layer."""

    def __init__(self, width: int, rngs: nnx.Rngs) -> None:
        self.block1 = Block(width, rngs)
        self.block2 = Block(width, rngs)
        self.head = nnx.Linear(width, 6, rngs=rngs)

    def __call__(self, state: Array) -> Array:
        return self.head(self.block2(self.block1(state)))


def jax_transformer_functions() -> Exported:
    """Flax, with its blocks kept as functions inside functions."""
    network = Transformer(24, nnx.Rngs(0))
    return export(network, normal(2, 7, 24), ("B", 7, 24))


MODELS = table_of(
    jax_mlp,
    jax_attention,
    jax_control_flow,
    jax_cnn,
    jax_transformer_functions,
)

if __name__ == "__main__":
    run(MODELS, np.random.seed)

"""Exports Keras models and plain TensorFlow functions; both go through tf2onnx.

    python tests/models/export_keras.py [NAME...]

Run with Python 3.11 and `pip install tensorflow-cpu==2.21.0 keras==3.15.1 tf2onnx==1.17.0
onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import keras
import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from export_common import Exported, exported, run, table_of
from keras import layers

OPSET = 18


def seed(value: int) -> None:
    """Seeds all generators, and starts again to count layers, as their names do."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(value)


def export(network: keras.Model, sample: np.ndarray, opset: int = OPSET) -> Exported:
    """Exports a Keras model of one input, with a batch of any size."""
    settle(network)
    outputs = network(sample)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        network.export(path, format="onnx", opset_version=opset, verbose=False)
        model = onnx.load(path)
    return exported(model, {network.inputs[0].name: sample}, (outputs,))


def settle(network: keras.Model) -> None:
    """Replaces the zeros and ones of fresh biases, scales and statistics by random numbers."""
    for variable in network.weights:
        values = np.asarray(variable)
        if values.size and np.issubdtype(values.dtype, np.floating) and np.ptp(values) == 0:
            variable.assign(values + np.random.uniform(0.0, 0.4, values.shape))


def normal(*shape: int) -> np.ndarray:
    """Random float32 numbers."""
    return np.random.standard_normal(shape).astype(np.float32)


def keras_cnn() -> Exported:
    """Channels last: convolutions between transposes, two of them depthwise and transposed."""
    images = layers.Input((16, 16, 3), name="images")
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(images)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(3, strides=2, padding="same")(x)
    x = layers.ReLU(negative_slope=0.1)(layers.BatchNormalization()(x))
    x = layers.Conv2DTranspose(12, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Conv2D(16, 3, activation="swish")(layers.MaxPooling2D()(x))
    x = layers.GlobalAveragePooling2D()(x)
    return export(
        keras.Model(images, layers.Dense(5, activation="softmax")(x)), normal(2, 16, 16, 3)
    )


def keras_mlp() -> Exported:
    """Dense layers with four kinds of activation, at an older opset."""
    network = keras.Sequential([layers.Input((12,), name="features")])
    for activation in ("relu", "elu", "softplus", "tanh"):
        network.add(layers.Dense(24, activation=activation))
    network.add(layers.Dense(3))
    return export(network, normal(4, 12), opset=13)


def keras_lstm() -> Exported:
    """Bidirectional, recognized by tf2onnx as one LSTM node."""
    series = layers.Input((9, 6), name="series")
    steps = layers.Bidirectional(layers.LSTM(12, return_sequences=True))(series)
    last = layers.LSTM(10)(steps)
    return export(keras.Model(series, layers.Dense(3)(last)), normal(2, 9, 6))


def keras_gru() -> Exported:
    """Not recognized as a GRU node: a Loop over the steps, with the weights as its state."""
    series = layers.Input((9, 6), name="series")
    steps = layers.GRU(16, return_sequences=True)(series)
    return export(keras.Model(series, layers.Dense(2)(steps)), normal(2, 9, 6))


def keras_transformer() -> Exported:
    """Embedding, self-attention and feed-forward with residuals and LayerNormalization."""
    tokens = layers.Input((8,), name="tokens", dtype="int32")
    x = layers.Embedding(64, 24)(tokens)
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(4, 6)(x, x, use_causal_mask=True))
    x = layers.LayerNormalization()(x + layers.Dense(24)(layers.Dense(40, "silu")(x)))
    network = keras.Model(tokens, layers.Dense(64)(x))
    return export(network, np.random.randint(0, 64, (2, 8), np.int32))


def tensorflow_control_flow() -> Exported:
    """A `tf.function` with a while loop that its data ends and a condition: Loop and If."""
    step, left, right = (tf.Variable(0.3 * normal(10, 10)) for _ in range(3))

    @tf.function(input_signature=[tf.TensorSpec([None, 10], tf.float32, "features")])
    def network(features: tf.Tensor) -> tf.Tensor:
        state = features
        while tf.reduce_sum(tf.abs(state)) > 1.0:
            state = 0.9 * tf.tanh(tf.matmul(state, step))
        if tf.reduce_mean(features) > 0.0:
            result = tf.matmul(features + state, left)
        else:
            result = tf.matmul(features - state, right)
        return tf.nn.softmax(result)

    sample = normal(3, 10)
    model, _ = tf2onnx.convert.from_function(network, network.input_signature, opset=OPSET)
    return exported(model, {"features": sample}, (network(sample),))


MODELS = table_of(
    keras_cnn,
    keras_mlp,
    keras_lstm,
    keras_gru,
    keras_transformer,
    tensorflow_control_flow,
)

if __name__ == "__main__":
    run(MODELS, seed)

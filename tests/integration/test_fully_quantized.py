"""Gradients of fully quantized training against backpropagation that is written out by hand."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.runtime import needs_training

pytestmark = needs_training

from onnxbf.philox import random_words  # noqa: E402
from onnxbf.protos import to_proto  # noqa: E402
from onnxbf.range_cast import parse_range_cast  # noqa: E402
from onnxbf.range_quantizer import quantize_range  # noqa: E402
from onnxbf.recipe import load_recipe  # noqa: E402
from onnxbf.session import make_session, run  # noqa: E402
from onnxbf.studies.networks import Network  # noqa: E402
from onnxbf.training.graphs import build_graphs  # noqa: E402

Array = NDArray[Any]
BATCH, SIZES, STEP, SEED = 16, (12, 20, 20, 5), 3, 7
RNG = np.random.default_rng(0)
X = RNG.normal(size=(BATCH, SIZES[0])).astype(np.float32)
LABELS = RNG.integers(0, SIZES[-1], BATCH)


def _by_hand(weights: list[Array], read: Callable[[Array, str], Array]) -> list[Array]:
    """The gradients of all weights and biases; ``read`` is what a product reads of a tensor.

    The gradient at a layer's output is quantized twice: of 8 bits for the weight's gradient, by the
    recipe's own quantizer for the gradient that is passed on. The bias takes it as it is.
    """
    layers, given = [], X
    for weight, bias in zip(weights[::2], weights[1::2]):
        operand, matrix = read(given, "affine{bits=8}"), read(weight, "weight{bits=8}")
        result = operand @ matrix.T + bias
        layers.append((operand, matrix, result))
        given = np.maximum(result, 0)
    likely = np.exp(result - result.max(1, keepdims=True))
    gradient = likely / likely.sum(1, keepdims=True)
    gradient[np.arange(BATCH), LABELS] -= 1
    gradient /= np.float32(BATCH)
    found: list[Array] = []
    for index in reversed(range(len(layers))):
        operand, matrix, _ = layers[index]
        found = [read(gradient, "ptq{bits=8}").T @ operand, gradient.sum(0), *found]
        if index > 0:
            gradient = (read(gradient, "own") @ matrix) * (layers[index - 1][2] > 0)
    return found


@pytest.mark.parametrize("own", ["ptq{bits=2}", "psq{bits=3}", "bhq{bits=2}"])
def test_both_products_of_the_backward_pass_read_a_gradient_of_their_own(own: str) -> None:
    net = Network(0, SIZES[:1])
    for index, (before, after) in enumerate(itertools.pairwise(SIZES)):
        net = (net.then("Relu") if index else net).dense(before, after)
    recipe = load_recipe(f"fqt-{own}")
    graphs = build_graphs(net.finish(SIZES[-1]), "cross-entropy", "sgd").under(recipe, seed=SEED)
    nodes = [n for n in graphs.gradient.graph if n.op_type == "QuantizeRange" and len(n.inputs) > 1]
    streams = {  # of random bits: the backward pass goes from the last layer to the first
        bits: [
            n.attributes["node"].as_int() for n in nodes if n.attributes.get_int("bits", 8) == bits
        ]
        for bits in (8, parse_range_cast(own).bits)
    }
    assert [len(each) for each in streams.values()] == [3, 2]

    def read(x: Array, text: str) -> Array:
        cast = parse_range_cast(own if text == "own" else text)
        if not cast.stochastic:
            return quantize_range(x, cast)
        stream = streams[cast.bits].pop(0)
        return quantize_range(x, cast, random_words(x.size, seed=SEED, node=stream, step=STEP))

    expected = _by_hand([graphs.state[f"p{index}"] for index in range(6)], read)
    session = make_session(to_proto(graphs.gradient).SerializeToString(), threads=1)
    feeds = {
        "x": X,
        graphs.attached.labels[0]: LABELS,
        "loss_scale": np.ones((), np.float32),
        "step": np.array(STEP, np.int64),
        **graphs.state,
    }
    names = {value.name for value in session.get_inputs()}
    found = run(session, {name: array for name, array in feeds.items() if name in names})
    for index, gradient in enumerate(expected):
        assert found[f"p{index}.gradient"] == pytest.approx(
            gradient, abs=1e-5 * float(np.abs(gradient).max())
        )

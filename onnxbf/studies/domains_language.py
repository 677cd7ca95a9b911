"""Language: a transformer and an LSTM with attention predict the characters of real text."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from onnxbf.studies.claim import Side
from onnxbf.studies.learning import Plan, scores
from onnxbf.studies.networks import INT64, Network
from onnxbf.studies.subject import Floor, Scores, Subject
from onnxbf.studies.task import LABELS, Task

LENGTH, ALPHABET = 24, 64  # characters in a window, and those that are told apart
TRAINING, TESTING = 12_000, 1_500  # windows
SIZE, HEADS, LAYERS, UNITS = 32, 2, 2, 48
PLAN = Plan(epochs=2, rate=0.006)


@functools.cache
def text() -> Task:
    """Windows ``x`` of 24 characters, and as labels the characters that follow each.

    The text is Python's own reference, which comes with it (``pydoc_data.topics``). All but the 63
    most frequent characters are one.
    """
    from pydoc_data.topics import topics

    whole = "\n".join(topics[name] for name in sorted(topics))
    frequent = sorted(c for c, _ in Counter(whole).most_common(ALPHABET - 1))
    numbers = {character: index for index, character in enumerate(frequent, 1)}
    codes = np.array([numbers.get(character, 0) for character in whole])
    starts = np.random.default_rng(0).permutation(len(codes) // LENGTH - 1) * LENGTH
    windows = codes[starts[: TRAINING + TESTING, None] + np.arange(LENGTH + 1)]
    parts = windows[:TRAINING], windows[TRAINING:]
    return Task(*({"x": part[:, :-1], LABELS: part[:, 1:]} for part in parts))


def _attend(net: Network, queries: ir.Value, keys: ir.Value, values: ir.Value) -> ir.Value:
    """Means of values up to each place, weighted by the softmax of queries times keys.

    Keys are (..., size, length), the others (..., length, size).
    """
    build = net.build
    later = np.triu(np.full((LENGTH, LENGTH), -1e9), 1)
    likeness = build.Add(build.MatMul(queries, keys), build.constant(later))
    weighted: ir.Value = build.MatMul(build.Softmax(likeness, axis=-1), values)
    return weighted


def _heads(net: Network, source: ir.Value) -> ir.Value:
    """A projection, in heads: (N, heads, length, size of a head)."""
    net.at(source).rows(SIZE, SIZE)
    split = net.build.integers(0, LENGTH, HEADS, SIZE // HEADS)
    heads: ir.Value = net.build.Transpose(net.build.Reshape(net.last, split), perm=[0, 2, 1, 3])
    return heads


def transformer(seed: int) -> ir.Model:
    """A decoder of two layers with two heads (Vaswani et al., 2017), norms before their parts."""
    net = Network(seed, (LENGTH,), dtype=INT64).embed(ALPHABET, SIZE)
    places = net.parameter(np.random.default_rng(seed).normal(0, 0.1, (LENGTH, SIZE)))
    net.at(net.build.Add(net.last, places))
    for _ in range(LAYERS):
        before = net.last
        normal = net.layer_norm(SIZE).last
        queries, keys, values = (_heads(net, normal) for _ in range(3))
        scaled = net.build.Mul(queries, net.build.constant((SIZE / HEADS) ** -0.5))
        turned = net.build.Transpose(keys, perm=[0, 1, 3, 2])
        joined = net.build.Transpose(_attend(net, scaled, turned, values), perm=[0, 2, 1, 3])
        net.at(net.build.Reshape(joined, net.build.integers(0, LENGTH, SIZE))).rows(SIZE, SIZE)
        before = net.at(net.build.Add(before, net.last)).last
        net.layer_norm(SIZE).rows(SIZE, 2 * SIZE).then("Relu").rows(2 * SIZE, SIZE)
        net.at(net.build.Add(before, net.last))
    return net.layer_norm(SIZE).rows(SIZE, ALPHABET).finish(LENGTH, ALPHABET)


def attention_lstm(seed: int) -> ir.Model:
    """An LSTM whose states attend to those before them (Luong et al., 2015, the general score)."""
    net = Network(seed, (LENGTH,), dtype=INT64).embed(ALPHABET, SIZE)
    net.then("Transpose", perm=[1, 0, 2]).recurrent("LSTM", SIZE, UNITS)
    states = net.then("Transpose", perm=[1, 0, 2]).last
    turned = net.build.Transpose(states, perm=[0, 2, 1])
    queries = net.product(UNITS, UNITS, UNITS**-0.5).last
    attended = _attend(net, queries, turned, states)
    net.at(net.build.Concat(states, attended, axis=2)).rows(2 * UNITS, UNITS).then("Tanh")
    return net.rows(UNITS, ALPHABET).finish(LENGTH, ALPHABET)


def _predict(make: Callable[[int], ir.Model], recipe: str, seed: int) -> Scores:
    found = scores(make(seed), "cross-entropy", text(), PLAN, {}, recipe, seed)
    return {"bits": found["validation_loss"] / math.log(2)}


LANGUAGE = tuple(
    Subject(
        name=name,
        about=about,
        train=functools.partial(_predict, make),
        score="bits",
        allowed=0.01,
        relative=True,
        floors=(Floor("bits", Side.AT_MOST, 3.3),),
    )
    for name, about, make in (
        ("transformer", "language, a transformer", transformer),
        ("lstm", "language, an LSTM with attention", attention_lstm),
    )
)

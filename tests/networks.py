"""Small networks and data to train on, for tests of runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FEATURES, HIDDEN, CLASSES = 8, 16, 4


def write_mlp(path: Path, *, dropout: float = 0.0) -> Path:
    """Gemm, Relu, perhaps Dropout, Gemm; of x (N, 8) the logits y (N, 4)."""
    generator = np.random.default_rng(0)
    weights = {
        "w1": generator.normal(size=(FEATURES, HIDDEN)) / np.sqrt(FEATURES),
        "b1": np.zeros(HIDDEN),
        "w2": generator.normal(size=(HIDDEN, CLASSES)) / np.sqrt(HIDDEN),
        "b2": np.zeros(CLASSES),
    }
    initializers = [numpy_helper.from_array(np.float32(a), name) for name, a in weights.items()]
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], name="fc1"),
        helper.make_node("Relu", ["h"], ["a"], name="relu"),
    ]
    if dropout:
        given = {"ratio": np.float32(dropout), "training": np.array(True)}
        initializers += [numpy_helper.from_array(np.asarray(a), name) for name, a in given.items()]
        nodes.append(helper.make_node("Dropout", ["a", *given], ["d", "mask"], name="drop"))
    last = nodes[-1].output[0]
    nodes.append(helper.make_node("Gemm", [last, "w2", "b2"], ["y"], name="fc2"))
    graph = helper.make_graph(
        nodes,
        "mlp",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", FEATURES])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", CLASSES])],
        initializers,
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def write_data(path: Path, count: int, seed: int) -> Path:
    """Examples x (8) and the labels that a random linear map gives them."""
    directions = np.random.default_rng(7).normal(size=(FEATURES, CLASSES))
    x = np.random.default_rng(seed).normal(size=(count, FEATURES)).astype(np.float32)
    np.savez(path, x=x, labels=(x @ directions).argmax(axis=1))
    return path

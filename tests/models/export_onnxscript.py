"""Writes models with onnxscript, whose functions become functions of the model.

    python tests/models/export_onnxscript.py [NAME...]

PyTorch computes the outputs to compare with. Run with Python 3.11 and `pip install
torch==2.13.0 onnxscript==0.7.2 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6`.
"""

from __future__ import annotations

import torch
from export_common import Exported, exported, run, table_of
from onnx import numpy_helper
from onnxscript import BOOL, FLOAT, opset18, script
from onnxscript import opset18 as op
from onnxscript.values import Opset
from torch import Tensor
from torch.nn import functional

WIDTH = 16
DOMAIN = Opset("example.layers", 1)


@script(DOMAIN, default_opset=opset18)
def Dense(state: FLOAT, weights: FLOAT, bias: FLOAT, slope: float = 0.0) -> FLOAT:
    """A linear layer and a leaky ReLU, whose slope the caller chooses."""
    return op.LeakyRelu(op.Add(op.MatMul(state, weights), bias), alpha=slope)


@script(DOMAIN, default_opset=opset18)
def Attention(state: FLOAT, query: FLOAT, key: FLOAT, value: FLOAT) -> FLOAT:
    """Attention of one head."""
    scores = op.MatMul(op.MatMul(state, query), op.Transpose(op.MatMul(state, key), perm=[0, 2, 1]))
    return op.MatMul(op.Softmax(scores * 0.25, axis=-1), op.MatMul(state, value))


@script(DOMAIN, default_opset=opset18)
def Block(
    state: FLOAT,
    query: FLOAT,
    key: FLOAT,
    value: FLOAT,
    weights: FLOAT,
    bias: FLOAT,
    slope: float = 0.1,
) -> FLOAT:
    """Functions inside a function, one of which gets the attribute that this one got."""
    mixed = state + Attention(state, query, key, value)
    return mixed + Dense(mixed, weights, bias, slope=slope)


@script(DOMAIN, default_opset=opset18)
def Choose(flag: BOOL, state: FLOAT, weights: FLOAT, bias: FLOAT) -> FLOAT:
    """A branch inside a function."""
    if flag:  # noqa: SIM108 - onnxscript knows no other way to write an If
        result = Dense(state, weights, bias, slope=0.5)
    else:
        result = op.Tanh(op.MatMul(state, weights))
    return result


def dense_of(state: Tensor, weights: Tensor, bias: Tensor, slope: float) -> Tensor:
    """`Dense` in PyTorch."""
    return functional.leaky_relu(state @ weights + bias, slope)


def block_of(state: Tensor, parts: tuple[Tensor, ...], slope: float) -> Tensor:
    """`Block` in PyTorch."""
    query, key, value, weights, bias = parts
    scores = torch.softmax((state @ query) @ (state @ key).mT * 0.25, -1)
    mixed = state + scores @ (state @ value)
    return mixed + dense_of(mixed, weights, bias, slope)


@script(default_opset=opset18)
def network(
    state: FLOAT[None, None, WIDTH],
    flag: BOOL,
    query: FLOAT[WIDTH, WIDTH],
    key: FLOAT[WIDTH, WIDTH],
    value: FLOAT[WIDTH, WIDTH],
    weights: FLOAT[WIDTH, WIDTH],
    bias: FLOAT[WIDTH],
) -> FLOAT[None, None, WIDTH]:
    """Two blocks with other slopes and shared weights, and a choice."""
    first = Block(state, query, key, value, weights, bias)
    second = Block(first, query, key, value, weights, bias, slope=0.3)
    return Choose(flag, second, weights, bias)


def onnxscript_functions() -> Exported:
    """Functions in functions, attributes handed through, an If inside a function."""
    weights = {name: torch.randn(WIDTH, WIDTH) / 4 for name in ("query", "key", "value", "weights")}
    weights["bias"] = torch.randn(WIDTH) / 4
    model = network.to_model_proto()
    for function in model.functions:  # onnxscript overlooks the function that an If calls
        if function.name == "Choose":
            function.opset_import.add(domain=DOMAIN.domain, version=DOMAIN.version)
    variable = [entry for entry in model.graph.input if entry.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(variable)
    for name, tensor in weights.items():
        model.graph.initializer.append(numpy_helper.from_array(tensor.numpy(), name))
    samples = {"state": torch.randn(2, 5, WIDTH), "flag": torch.tensor(True)}
    state = block_of(samples["state"], tuple(weights.values()), 0.1)
    state = block_of(state, tuple(weights.values()), 0.3)
    output = dense_of(state, weights["weights"], weights["bias"], 0.5)
    return exported(model, samples, (output,))


MODELS = table_of(onnxscript_functions)

if __name__ == "__main__":
    run(MODELS, torch.manual_seed)

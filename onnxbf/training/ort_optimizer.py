"""The optimizer model that ONNX Runtime's own training API takes.

Source: onnxruntime/training/onnxblock/optim/optim.py and orttraining/training_api/optimizer.cc of
ONNX Runtime 1.19, which knows two optimizers by the type of their node.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import onnx_ir as ir

from onnxbf.errors import UnsupportedError
from onnxbf.training.optimizers import OPTIMIZERS, Adam, Optimizer, Sgd
from onnxbf.training.options import build

ORT_DOMAIN = "com.microsoft"
_OPSET, _IR_VERSION = 17, 8  # that every release with training accepts
_TORCHS = 0  # adam_mode: decay first, each moment corrected on its own, as in torch.optim.AdamW
_FLOATS = ir.SequenceType(ir.TensorType(ir.DataType.FLOAT))
_WORKING = (
    "sgd and, with beta1, beta2, eps and (decoupled) weight_decay of all parameters, adamw and "
    "adam; each with clip_norm"
)


def make_ort_optimizer(optimizer: Optimizer | str) -> ir.Model:
    """The optimizer as a model of one node over sequences of parameters, gradients and moments.

    Args:
        optimizer: text such as ``adamw{weight_decay=0.1}``, or what it stands for.

    Raises:
        NameUnknown, SpecError: text that names no optimizer of ours.
        UnsupportedError: an optimizer that ONNX Runtime's API lacks, or an option that its own
            lack.
    """
    chosen = build(optimizer, OPTIMIZERS, "optimizer") if isinstance(optimizer, str) else optimizer
    refused = _refused(chosen)
    if refused:
        raise UnsupportedError(
            f"ONNX Runtime's training API has no optimizer with {refused}. These work: {_WORKING}."
        )
    if isinstance(chosen, Adam):
        return _adamw(chosen)
    return _model("SGDOptimizerV2", {}, ("first_order_moments",), read=(), clip=chosen.clip_norm)


def _refused(optimizer: Optimizer) -> str:
    """What ONNX Runtime's optimizers cannot do; empty where they can do all."""
    if optimizer.clip_value < math.inf:
        return "option 'clip_value'"
    decays = bool(optimizer.weight_decay)
    if decays and (optimizer.decay_exclude or optimizer.decay_min_rank):
        return "decay of some parameters only"
    if isinstance(optimizer, Adam):
        return "decay that is added to the gradient" if decays and not optimizer.decoupled else ""
    if not isinstance(optimizer, Sgd):
        return f"the update of {type(optimizer).__name__!r}"
    if optimizer.momentum:
        return "option 'momentum'"
    return "option 'weight_decay' beside sgd" if decays else ""


def _adamw(optimizer: Adam) -> ir.Model:
    attributes = {
        "alpha": optimizer.beta1,
        "beta": optimizer.beta2,
        "epsilon": optimizer.eps,
        "weight_decay": optimizer.weight_decay,
        "correct_bias": 1,
        "adam_mode": _TORCHS,
    }
    moments = ("first_order_moments", "second_order_moments")
    return _model("AdamWOptimizer", attributes, moments, read=moments, clip=optimizer.clip_norm)


def _model(
    op_type: str,
    attributes: Mapping[str, Any],
    moments: tuple[str, ...],
    *,
    read: tuple[str, ...],
    clip: float,
) -> ir.Model:
    """``moments`` must be inputs, by these names; those in ``read`` are inputs of the node too."""
    rate = _input("learning_rate", ir.TensorType(ir.DataType.FLOAT), ir.Shape([1]))
    step = _input("step", ir.TensorType(ir.DataType.INT64), ir.Shape([1]))
    sequences = {name: _input(name, _FLOATS) for name in ("params", "gradients", *moments)}
    parameters, gradients = sequences["params"], sequences["gradients"]
    nodes = []
    if clip < math.inf:
        nodes.append(_node("InplaceClipGradNorm", [gradients], {"max_norm": clip}, "clipped"))
        (gradients,) = nodes[0].outputs
        gradients.type = _FLOATS
    inputs = [rate, parameters, gradients]
    if read:
        inputs = [rate, step, parameters, gradients, *(sequences[name] for name in read)]
    nodes.append(_node(op_type, inputs, attributes, "updated"))
    (updated,) = nodes[-1].outputs
    updated.type, updated.shape = ir.TensorType(ir.DataType.BOOL), ir.Shape([1])
    graph = ir.Graph(
        [rate, step, *sequences.values()],
        [updated],
        nodes=nodes,
        opset_imports={"": _OPSET, ORT_DOMAIN: 1},
        name="optimizer",
    )
    return ir.Model(graph, ir_version=_IR_VERSION, producer_name="onnxbf")


def _input(name: str, kind: ir.TypeProtocol, shape: ir.Shape | None = None) -> ir.Value:
    return ir.Value(name=name, type=kind, shape=shape)


def _node(
    op_type: str, inputs: list[ir.Value], attributes: Mapping[str, Any], output: str
) -> ir.Node:
    made = ir.node(op_type, inputs, dict(attributes), domain=ORT_DOMAIN, name=op_type)
    made.outputs[0].name = output
    return made

"""Which operator of ours does what a node does, summing as an arithmetic profile says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxbf.custom_ops.registry import OPS

_EACH_AXIS_ALONE = 13  # the opset from which on Softmax is along one axis


@dataclass(frozen=True, slots=True)
class Emulation:
    """The operator, and how it is wired.

    Attributes:
        inputs: which inputs of the node it takes, in its own order: operands first, then what it
            adds, or that of which it needs the shape alone.
        outputs: which outputs of the node it gives.
        operands: how many of its inputs it can round.
        sums_operands: whether these are what it sums: then a profile that rounds them need not be
            told to.
        sizing: whether the third input is that of which it needs the shape.
        attributes: of its own, in place of the node's.
        constants: inputs that the node lacks, by place.
    """

    operator: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...] = (0,)
    operands: int = 2
    sums_operands: bool = True
    sizing: bool = False
    attributes: Mapping[str, Any] = field(default_factory=dict)
    constants: Mapping[int, NDArray[Any]] = field(default_factory=dict)


def emulation_of(node: ir.Node, opset: int, stochastic: bool = False) -> Emulation | None:
    """What takes the place of ``node``; None where no operator of ours does all that it does.

    ONNX Runtime 1.19 does not survive a custom operator with an input left out before another, so
    nothing is, where a step may follow: ``stochastic``.

    Args:
        opset: ``oldest_opset`` of its model.
    """
    if node.op_type not in _EMULATIONS:
        return None
    emulation = _EMULATIONS[node.op_type](node, opset, stochastic)
    if emulation is None:
        return None
    known = {*OPS[emulation.operator].attributes, *_NOT_KEPT}
    fits = all(name in known or not each.value for name, each in node.attributes.items())
    return emulation if fits else None


def oldest_opset(model: ir.Model) -> int:
    """The oldest opset of ONNX's operators that the model or one of its functions is written in."""
    imports = [model.opset_imports, *(f.opset_imports for f in model.functions.values())]
    return min(versions[""] for versions in imports if "" in versions)


# What becomes an input, is of a term that is not there, or of the forward operator alone.
_NOT_KEPT = ("axes", "beta", "epsilon", "stash_type")
_NO_TERM: NDArray[Any] = np.zeros(0, np.float32)


def _has(node: ir.Node, index: int) -> bool:
    return len(node.inputs) > index and node.inputs[index] is not None


def _product(node: ir.Node, opset: int, stochastic: bool) -> Emulation:
    return Emulation(node.op_type, (0, 1))


def _gemm(node: ir.Node, opset: int, stochastic: bool) -> Emulation:
    if stochastic and not _has(node, 2):
        return Emulation("FusedMatMul", (0, 1))
    return Emulation("Gemm", (0, 1, 2))


def _convolution(node: ir.Node, opset: int, stochastic: bool) -> Emulation:
    missing = {2: _NO_TERM} if stochastic and not _has(node, 2) else {}
    return Emulation(node.op_type, (0, 1, 2), constants=missing)


def _convolution_gradient(node: ir.Node, opset: int, stochastic: bool) -> Emulation | None:
    """Of a node that gives one of both gradients, as SplitGradients leaves them."""
    to_input, to_weights, to_bias = (_is_wanted(node, index) for index in range(3))
    if to_input and not (to_weights or to_bias):
        return Emulation("ConvInputGrad", (0, 2, 1), sizing=True)
    if to_weights and not to_input:
        outputs = (1, 2) if to_bias else (1,)
        return Emulation("ConvWeightGrad", (0, 1, 2), outputs, sizing=True)
    return None


def _reduction(node: ir.Node, opset: int, stochastic: bool) -> Emulation:
    """Axes are an attribute in old opsets."""
    axes = node.attributes.get_ints("axes", None)
    missing = {}
    if not _has(node, 1) and (axes is not None or stochastic):
        missing[1] = np.array(() if axes is None else axes, np.int64)
    return Emulation(node.op_type, (0, 1), operands=1, constants=missing)


def _softmax(node: ir.Node, opset: int, stochastic: bool) -> Emulation | None:
    """Old ones take all axes from one on for one; which is the same for the last."""
    made = Emulation("Softmax", (0,), operands=1, sums_operands=False)
    if opset >= _EACH_AXIS_ALONE:
        return made
    shape = None if node.inputs[0] is None else node.inputs[0].shape
    axis = node.attributes.get_int("axis", 1)
    if shape is None or axis not in (-1, len(shape) - 1):
        return None
    return Emulation("Softmax", (0,), operands=1, sums_operands=False, attributes={"axis": -1})


def _layer_norm(node: ir.Node, opset: int, stochastic: bool) -> Emulation | None:
    if node.attributes.get_int("stash_type", 1) != 1:
        return None
    missing = {2: _NO_TERM} if stochastic and not _has(node, 2) else {}
    return Emulation(
        "LayerNormalization",
        (0, 1, 2),
        _wanted_outputs(node),
        operands=1,
        sums_operands=False,
        constants=missing,
    )


def _softmax_gradient(node: ir.Node, opset: int, stochastic: bool) -> Emulation:
    return Emulation("SoftmaxGrad", (0, 1), sums_operands=False)


def _layer_norm_gradient(node: ir.Node, opset: int, stochastic: bool) -> Emulation | None:
    if node.attributes.get_int("stash_type", 1) != 1:
        return None
    outputs = _wanted_outputs(node)
    return Emulation("LayerNormGrad", (0, 1, 2, 3, 4), outputs, sums_operands=False)


def _wanted_outputs(node: ir.Node) -> tuple[int, ...]:
    """All up to the last one that is wanted."""
    wanted = [index for index in range(len(node.outputs)) if _is_wanted(node, index)]
    return tuple(range(max(wanted, default=0) + 1))


def _is_wanted(node: ir.Node, index: int) -> bool:
    return index < len(node.outputs) and is_read(node.outputs[index])


def is_read(value: ir.Value) -> bool:
    """Whether a node reads a value, or it is an output of the graph."""
    return bool(value.uses()) or value.is_graph_output()


_EMULATIONS: dict[str, Callable[[ir.Node, int, bool], Emulation | None]] = {
    "MatMul": _product,
    "FusedMatMul": _product,
    "Gemm": _gemm,
    "Conv": _convolution,
    "ConvTranspose": _convolution,
    "ConvGrad": _convolution_gradient,
    "ReduceSum": _reduction,
    "ReduceMean": _reduction,
    "Softmax": _softmax,
    "LayerNormalization": _layer_norm,
    "SoftmaxGrad_13": _softmax_gradient,
    "LayerNormalizationGrad": _layer_norm_gradient,
}

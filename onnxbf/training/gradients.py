"""Differentiate a model: forward graph in, forward and backward graph out.

The work is done by ONNX Runtime's gradient builder, which needs no PyTorch. It ends the process
where an operator's outputs or shapes are not as it expects, so what it is given is brought into
that form, and checked, before (see passes/prepare_training.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from onnxbf.errors import ModelError, RuntimeMissing, UnsupportedError
from onnxbf.graph import BUFFER, GRADIENT, PARAMETER, SCALE, mark_kind
from onnxbf.passes.complete_splits import CompleteSplits
from onnxbf.passes.forget_symbols import ForgetSymbols
from onnxbf.passes.stamp_phases import StampPhases
from onnxbf.protos import from_proto, to_proto
from onnxbf.report import Report
from onnxbf.training.differentiable import check_differentiable

LOSS_SCALE = "loss_scale"

_NO_GRADIENT = re.compile(r"failed to find NodeArg by name: (.+)_grad\b")
_NOT_REGISTERED = re.compile(r"has not been registered: (\w+) for node (\S+)")


def differentiate(
    model: ir.Model, loss: str, parameters: Sequence[str], buffers: Sequence[str] = ()
) -> ir.Model:
    """The gradient graph of ``model``.

    Args:
        model: a prepared model; it is not changed.
        loss: the name of a scalar float32 value, which is an output of the model.
        parameters: names of initializers to differentiate by.
        buffers: names of initializers of which the model gives the next value as ``<name>.next``.

    Returns:
        A model whose inputs are those of ``model``, then the parameters, then the buffers, each
        without a default, then ``loss_scale``, a float32 scalar, the gradient of the loss; and
        whose outputs are those of ``model``, then ``<parameter>.gradient`` of every parameter, in
        order. Every node is stamped with its phase.

    Raises:
        ModelError: no parameters, or a loss that does not depend on any of them.
        UnsupportedError: an operator that cannot be differentiated, by node and type.
        RuntimeMissing: the installed ONNX Runtime has no training.
    """
    if not parameters:
        raise ModelError(
            f"The loss {loss!r} depends on no trainable parameter: there is nothing to "
            "differentiate by. Name another output, or other parameters."
        )
    check_differentiable(model, loss, parameters)
    work = model.clone()
    ShapeInferencePass()(work)  # gradients of Concat and Resize need sizes
    ForgetSymbols(Report("none"))(work)
    gradient = from_proto(_build(to_proto(work), loss, set(parameters)))
    for value, original in zip(gradient.graph.inputs, model.graph.inputs):
        value.shape = original.shape
    graph = gradient.graph
    _feed(graph, parameters, PARAMETER)
    _feed(graph, buffers, BUFFER)
    _feed(graph, [f"{loss}_grad"], SCALE)
    graph.inputs[-1].name = LOSS_SCALE
    CompleteSplits(Report("none"))(gradient)
    StampPhases(Report("none"))(gradient)
    _name_gradients(graph, parameters)
    graph.sort()
    return gradient


def _feed(graph: ir.Graph, names: Sequence[str], kind: str) -> None:
    """Make initializers plain inputs: their values live outside of the graph."""
    for name in names:
        value = graph.initializers.pop(name)
        value.const_value = None
        mark_kind(value, kind)
        graph.inputs.append(value)


def _name_gradients(graph: ir.Graph, parameters: Sequence[str]) -> None:
    """Make the gradients the last outputs, in the order of the parameters: it varies otherwise."""
    wanted = {f"{name}_grad": name for name in parameters}
    found = {wanted[value.name]: value for value in graph.outputs if value.name in wanted}
    graph.outputs[:] = [value for value in graph.outputs if value not in found.values()]
    for name in parameters:
        found[name].name = f"{name}{GRADIENT}"
        graph.outputs.append(found[name])


def _build(proto: onnx.ModelProto, loss: str, parameters: set[str]) -> onnx.ModelProto:
    """What the gradient builder makes of a model."""
    binding = training_binding()
    options = binding.SessionOptions()
    options.log_severity_level = 4
    try:
        builder = binding.GradientGraphBuilder(
            proto.SerializeToString(), {loss}, parameters, loss, options
        )
        builder.build()
        return onnx.ModelProto.FromString(builder.get_model())
    except Exception as error:  # ONNX Runtime's errors share no base but this
        told = _told(str(error))
        if told is None:
            raise
        raise told from None


def _told(text: str) -> UnsupportedError | ModelError | None:
    """What the gradient builder says, as an error of ours; None for what nobody expects."""
    operator = _NOT_REGISTERED.search(text)
    if operator is not None:
        return UnsupportedError(
            f"Node {operator[2]!r} cannot be differentiated: there is no gradient of {operator[1]}."
        )
    parameter = _NO_GRADIENT.search(text)
    if parameter is not None:
        return ModelError(f"The loss does not depend on parameter {parameter[1]!r}: freeze it.")
    return None


def training_binding() -> Any:
    """The C++ classes of ONNX Runtime; its module ``training`` would import PyTorch.

    Raises:
        RuntimeMissing: no ONNX Runtime, or one without training.
    """
    try:
        from onnxruntime.capi import _pybind_state
    except ImportError as error:
        raise RuntimeMissing(
            f"No ONNX Runtime is installed ({error}). Install one for training: "
            "pip install 'onnxbf[training]'."
        ) from None
    if not hasattr(_pybind_state, "GradientGraphBuilder"):
        raise RuntimeMissing(
            "The installed ONNX Runtime cannot train. Install the one that can instead: "
            "pip uninstall onnxruntime, then pip install 'onnxbf[training]'."
        )
    return _pybind_state

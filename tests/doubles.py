"""Models in float64: what finite differences are taken of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

_FLOAT, _DOUBLE = TensorProto.FLOAT, TensorProto.DOUBLE


class BatchNormInternal(OpRun):
    """Batch normalization in training mode, by the definition of ONNX's BatchNormalization."""

    op_domain = "com.microsoft"

    def _run(
        self,
        x: NDArray[Any],
        scale: NDArray[Any],
        bias: NDArray[Any],
        mean: NDArray[Any],
        variance: NDArray[Any],
        epsilon: float,
        momentum: float,
        training_mode: int,
    ) -> tuple[NDArray[Any], ...]:
        axes = tuple(axis for axis in range(x.ndim) if axis != 1)
        shape = [-1 if axis == 1 else 1 for axis in range(x.ndim)]
        m, v = x.mean(axes), x.var(axes)
        y = (x - m.reshape(shape)) / np.sqrt(v.reshape(shape) + epsilon)
        y = y * scale.reshape(shape) + bias.reshape(shape)
        running = [momentum * old + (1 - momentum) * new for old, new in ((mean, m), (variance, v))]
        return (y, *running, m, 1 / np.sqrt(v + epsilon))


class LayerNormalization(OpRun):
    """Layer normalization in the type of its input; onnx's own computes in float32."""

    op_domain = ""

    def _run(
        self,
        x: NDArray[Any],
        scale: NDArray[Any],
        bias: NDArray[Any] | None = None,
        axis: int = -1,
        epsilon: float = 1e-5,
        stash_type: int = 1,
    ) -> tuple[NDArray[Any], ...]:
        axes = tuple(range(axis % x.ndim, x.ndim))
        m = x.mean(axes, keepdims=True)
        deviation = 1 / np.sqrt(x.var(axes, keepdims=True) + epsilon)
        y = (x - m) * deviation * scale
        return (y if bias is None else y + bias), m, deviation


class LSTMTraining(OpRun):
    """A forward LSTM, by ONNX's formulas; what only the gradient reads is left out."""

    op_domain = "com.microsoft"

    def _run(
        self,
        x: NDArray[Any],
        w: NDArray[Any],
        r: NDArray[Any],
        b: NDArray[Any],
        lengths: None,
        h: NDArray[Any],
        c: NDArray[Any],
        hidden_size: int,
    ) -> tuple[NDArray[Any] | None, ...]:
        h, c, every = h[0], c[0], []
        for step in x:
            i, o, f, g = np.split(step @ w[0].T + h @ r[0].T + sum(np.split(b[0], 2)), 4, axis=1)
            c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
            h = _sigmoid(o) * np.tanh(c)
            every.append(h)
        return np.stack(every)[:, None], h[None], c[None], c[None], c[None]


class GRUTraining(OpRun):
    """A forward GRU, by ONNX's formulas; what only the gradient reads is left out."""

    op_domain = "com.microsoft"

    def _run(
        self,
        x: NDArray[Any],
        w: NDArray[Any],
        r: NDArray[Any],
        b: NDArray[Any],
        lengths: None,
        h: NDArray[Any],
        hidden_size: int,
        linear_before_reset: int = 0,
    ) -> tuple[NDArray[Any], ...]:
        h, every = h[0], []
        (w_z, w_r, w_h), (r_z, r_r, r_h) = np.split(w[0], 3), np.split(r[0], 3)
        a_z, a_r, a_h, b_z, b_r, b_h = np.split(b[0], 6)
        for step in x:
            update = _sigmoid(step @ w_z.T + a_z + h @ r_z.T + b_z)
            reset = _sigmoid(step @ w_r.T + a_r + h @ r_r.T + b_r)
            inner = reset * (h @ r_h.T + b_h) if linear_before_reset else (reset * h) @ r_h.T + b_h
            h = (1 - update) * np.tanh(step @ w_h.T + a_h + inner) + update * h
            every.append(h)
        return np.stack(every)[:, None], h[None], h[None]


def _sigmoid(x: NDArray[Any]) -> NDArray[Any]:
    return 1 / (1 + np.exp(-x))


class GroupNormalization(OpRun):
    """Scale and bias are those of groups, or of channels; onnx's own computes in float32."""

    op_domain = ""

    def _run(
        self,
        x: NDArray[Any],
        scale: NDArray[Any],
        bias: NDArray[Any],
        epsilon: float,
        num_groups: int,
        stash_type: int = 1,
    ) -> tuple[NDArray[Any]]:
        rows = x.reshape(x.shape[0], num_groups, -1)
        m, v = rows.mean(2, keepdims=True), rows.var(2, keepdims=True)
        y = ((rows - m) / np.sqrt(v + epsilon)).reshape(x.shape[0], len(scale), -1)
        return ((y * scale[:, None] + bias[:, None]).reshape(x.shape),)


class RMSNormalization(OpRun):
    """Division by the root of the mean square; onnx's own computes in float32."""

    op_domain = ""

    def _run(
        self,
        x: NDArray[Any],
        scale: NDArray[Any],
        axis: int = -1,
        epsilon: float = 1e-5,
        stash_type: int = 1,
    ) -> tuple[NDArray[Any]]:
        axes = tuple(range(axis % x.ndim, x.ndim))
        return (x / np.sqrt(np.mean(x * x, axes, keepdims=True) + epsilon) * scale,)


class MeanVarianceNormalization(OpRun):
    """By its definition; onnx's own holds float32 constants."""

    op_domain = ""

    def _run(self, x: NDArray[Any], axes: Sequence[int] = (0, 2, 3)) -> tuple[NDArray[Any]]:
        at = tuple(axes)
        return ((x - x.mean(at, keepdims=True)) / (x.std(at, keepdims=True) + 1e-9),)


class LpNormalization(OpRun):
    """x / |x|; onnx's own takes no absolute values for p = 1."""

    op_domain = ""

    def _run(self, x: NDArray[Any], axis: int = -1, p: int = 2) -> tuple[NDArray[Any]]:
        return (x / np.linalg.norm(x, p, axis=axis, keepdims=True),)


class Erf(OpRun):
    """The error function in the type of its input; onnx's own computes in float32."""

    op_domain = ""

    def _run(self, x: NDArray[Any]) -> tuple[NDArray[Any]]:
        return (_erf(x).astype(x.dtype),)


class Gelu(OpRun):
    """The Gaussian error linear unit, by its definition."""

    op_domain = ""

    def _run(self, x: NDArray[Any], approximate: str = "none") -> tuple[NDArray[Any]]:
        if approximate == "tanh":
            inner = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
        else:
            inner = _erf(x / math.sqrt(2))
        return ((0.5 * x * (1 + inner)).astype(x.dtype),)


_erf = np.vectorize(math.erf, otypes=[np.float64])


def to_double(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with every float32 tensor, constant and cast in float64."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    _graph(made.graph)
    return made


def _graph(graph: onnx.GraphProto) -> None:
    del graph.value_info[:]
    for tensor in graph.initializer:
        _tensor(tensor)
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == _FLOAT:
            value.type.tensor_type.elem_type = _DOUBLE
    for node in graph.node:
        _node(node)


def _node(node: onnx.NodeProto) -> None:
    for attribute in node.attribute:
        if attribute.name == "to" and attribute.i == _FLOAT:
            attribute.i = _DOUBLE
        if attribute.name == "value" and attribute.t.data_type == _FLOAT:
            _tensor(attribute.t)
        if attribute.g.node:
            _graph(attribute.g)


def _tensor(tensor: onnx.TensorProto) -> None:
    if tensor.data_type == _FLOAT:
        array = numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def evaluator(model: onnx.ModelProto) -> ReferenceEvaluator:
    ops = [
        BatchNormInternal,
        Erf,
        Gelu,
        GRUTraining,
        GroupNormalization,
        LayerNormalization,
        LpNormalization,
        LSTMTraining,
        MeanVarianceNormalization,
        RMSNormalization,
    ]
    return ReferenceEvaluator(to_double(model), new_ops=ops)


def directional(
    run: ReferenceEvaluator,
    output: str,
    feeds: Mapping[str, NDArray[Any]],
    name: str,
    direction: NDArray[np.float64],
    step: float,
) -> float:
    """The central difference of a scalar output along a direction of one input."""
    losses = []
    for sign in (1, -1):
        moved = {**feeds, name: feeds[name] + sign * step * direction}
        losses.append(float(run.run([output], moved)[0]))
    return (losses[0] - losses[1]) / (2 * step)

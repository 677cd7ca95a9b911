"""The operators of ``ai.onnxbf`` for training in NumPy: sums in float64, results in float32.

They have the inputs, outputs and attributes of ONNX Runtime's operators of the same names, and some
of their own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun

from onnxbf.custom_ops.elementwise import parse_program
from onnxbf.custom_ops.reference_products import cast_as
from onnxbf.custom_ops.registry import DOMAIN

Floats = NDArray[np.float32]


class ReluGrad(OpRun):
    """The gradient of Relu, from its input or its output."""

    op_domain = DOMAIN

    def _run(self, dy: Floats, x: Floats) -> tuple[Floats]:
        return (np.where(x > 0, dy, np.float32(0)),)


class ConvGrad(OpRun):
    """The gradients of Conv: of its input, its weights and its bias."""

    op_domain = DOMAIN

    def _run(
        self,
        dy: Floats,
        x: Floats,
        w: Floats,
        auto_pad: str = "NOTSET",
        dilations: Sequence[int] | None = None,
        group: int = 1,
        kernel_shape: Sequence[int] | None = None,
        pads: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
    ) -> tuple[Floats, ...]:
        rank = x.ndim - 2
        steps, gaps = strides or [1] * rank, dilations or [1] * rank
        around = _pads(auto_pad, pads or [0] * 2 * rank, dy, x, w, steps, gaps)
        padded = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *around])
        to_padded: NDArray[Any] = np.zeros_like(padded)
        to_weights: NDArray[Any] = np.zeros(w.shape)
        groups = [(c, m) for c, m in zip(_parts(x.shape[1], group), _parts(len(w), group))]
        for tap in itertools.product(*(range(size) for size in w.shape[2:])):
            met = [
                slice(index * gap, index * gap + (size - 1) * step + 1, step)
                for index, gap, step, size in zip(tap, gaps, steps, dy.shape[2:])
            ]
            for channels, maps in groups:
                window: tuple[Any, ...] = (slice(None), channels, *met)
                weights: tuple[Any, ...] = (maps, slice(None), *tap)
                gradient = dy[:, maps].astype(np.float64)
                to_padded[window] += np.einsum("nm...,mc->nc...", gradient, w[weights])
                to_weights[weights] = np.tensordot(
                    gradient, padded[window], ([0, *range(2, x.ndim)],) * 2
                )
        inside = tuple(slice(first, first + size) for (first, _), size in zip(around, x.shape[2:]))
        to_bias = dy.sum(axis=(0, *range(2, x.ndim)), dtype=np.float64)
        results = (to_padded[(slice(None), slice(None), *inside)], to_weights, to_bias)
        names = self.onnx_node.output
        return tuple(array.astype(np.float32) for array, _ in zip(results, names))


def _parts(size: int, count: int) -> list[slice]:
    part = size // count
    return [slice(first, first + part) for first in range(0, size, part)]


def _pads(
    auto_pad: str,
    pads: Sequence[int],
    dy: Floats,
    x: Floats,
    w: Floats,
    strides: Sequence[int],
    dilations: Sequence[int],
) -> list[tuple[int, int]]:
    """What is added before and after each dimension."""
    if auto_pad == "NOTSET":
        return list(zip(pads, pads[len(pads) // 2 :]))
    found = []
    for d, (stride, dilation) in enumerate(zip(strides, dilations), start=2):
        reach = (dy.shape[d] - 1) * stride + (w.shape[d] - 1) * dilation + 1
        total = max(reach - x.shape[d], 0)
        first = total // 2 if auto_pad == "SAME_UPPER" else total - total // 2
        found.append((first, total - first))
    return found


class GatherGrad(OpRun):
    """The gradient of what Gather takes rows of."""

    op_domain = DOMAIN

    def _run(
        self, shape: NDArray[np.int64], indices: NDArray[np.int64], dy: Floats, axis: int = 0
    ) -> tuple[Floats]:
        axis %= len(shape)
        outer, inner = shape[:axis], shape[axis + 1 :]
        rows = dy.reshape(*outer, indices.size, *inner).astype(np.float64)
        sums = np.zeros((shape[axis], *outer, *inner))
        np.add.at(sums, indices.ravel(), np.moveaxis(rows, axis, 0))
        return (np.moveaxis(sums, 0, axis).astype(np.float32),)


class LayerNormalizationGrad(OpRun):
    """The gradients of LayerNormalization: of its input, its scale and its bias."""

    op_domain = DOMAIN

    def _run(
        self,
        dy: Floats,
        x: Floats,
        scale: Floats,
        mean: Floats,
        inverse_deviation: Floats,
        axis: int = -1,
        epsilon: float = 1e-5,
        stash_type: int = 1,
    ) -> tuple[Floats, ...]:
        axis %= x.ndim
        inner, outer = tuple(range(axis, x.ndim)), tuple(range(axis))
        statistics = (*x.shape[:axis], *[1] * len(inner))
        deviation = inverse_deviation.astype(np.float64).reshape(statistics)
        normal = (x - mean.astype(np.float64).reshape(statistics)) * deviation
        scaled = dy * scale.astype(np.float64).reshape(x.shape[axis:])
        centred = scaled - scaled.mean(inner, keepdims=True)
        centred -= normal * (scaled * normal).mean(inner, keepdims=True)
        results = (centred * deviation, (dy * normal).sum(outer), dy.sum(outer, dtype=np.float64))
        shapes = (x.shape, scale.shape, scale.shape)
        names = self.onnx_node.output
        return tuple(
            array.astype(np.float32).reshape(shape)
            for array, shape, _ in zip(results, shapes, names)
        )


class MaxPool(OpRun):
    """The largest numbers of windows, and their indices in ``x``; of equal ones the first.

    Of what a program (elementwise.py) makes of x, where there is one.
    """

    op_domain = DOMAIN

    def _run(
        self,
        x: Floats,
        auto_pad: str = "NOTSET",
        ceil_mode: int = 0,
        dilations: Sequence[int] | None = None,
        kernel_shape: Sequence[int] | None = None,
        pads: Sequence[int] | None = None,
        program: str = "",
        storage_order: int = 0,
        strides: Sequence[int] | None = None,
    ) -> tuple[Floats, NDArray[np.int64]]:
        if program:
            (x,) = parse_program(program).run([x], [])
        top, left, bottom, right = pads or [0] * 4
        around = [(0, 0), (0, 0), (top, bottom), (left, right)]
        numbers = np.pad(x, around, constant_values=-np.inf)
        places = np.pad(np.arange(x.size).reshape(x.shape), around, constant_values=-1)
        down, across = strides or (1, 1)
        windows, indices = (
            np.lib.stride_tricks.sliding_window_view(array, kernel_shape or (), (2, 3))[
                :, :, ::down, ::across
            ]
            for array in (numbers, places)
        )
        flat = (*windows.shape[:4], math.prod(windows.shape[4:]))
        least = np.finfo(np.float32).min
        candidates = np.where(windows > least, windows, -np.inf).reshape(flat)
        inside = indices.reshape(flat) >= 0
        unset = ~np.any(candidates > -np.inf, -1, keepdims=True)  # NaN and -inf are above nothing
        first = np.where(unset, inside, candidates == candidates.max(-1, keepdims=True)).argmax(-1)
        largest, found = (
            np.take_along_axis(array, first[..., None], -1)[..., 0]
            for array in (candidates, indices.reshape(flat))
        )
        return np.maximum(largest, least).astype(np.float32), found


class MaxPoolGrad(OpRun):
    """The gradient of MaxPool: added up at the places that were the largest."""

    op_domain = DOMAIN

    def _run(
        self,
        dy: Floats,
        indices: NDArray[np.int64],
        auto_pad: str = "NOTSET",
        ceil_mode: int = 0,
        dilations: Sequence[int] | None = None,
        kernel_shape: Sequence[int] | None = None,
        pads: Sequence[int] | None = None,
        spatial: Sequence[int] | None = None,
        storage_order: int = 0,
        strides: Sequence[int] | None = None,
    ) -> tuple[Floats]:
        sums = np.zeros((*dy.shape[:2], *(spatial or ())))
        np.add.at(sums.reshape(-1), indices.ravel(), dy.ravel().astype(np.float64))
        return (sums.astype(np.float32),)


class SoftmaxCrossEntropyLoss(OpRun):
    """What labels cost, the logarithms of the softmax of rows, and two numbers of each row."""

    op_domain = DOMAIN

    def _run(
        self,
        logits: Floats,
        labels: NDArray[np.int64],
        ignore_index: int | None = None,
        reduction: str = "mean",
    ) -> tuple[NDArray[Any], ...]:
        rows = logits.astype(np.float64)
        largest = rows.max(1, keepdims=True)
        rows -= largest
        log_of_sum = np.log(np.exp(rows).sum(1, keepdims=True))
        logarithms = rows - log_of_sum
        counted = labels != ignore_index
        chosen = np.take_along_axis(logarithms, np.where(counted, labels, 0)[:, None], 1)[:, 0]
        losses = np.where(counted, -chosen, 0)
        total = losses if reduction == "none" else losses.sum()
        loss = total / max(counted.sum(), 1) if reduction == "mean" else total
        results = (np.asarray(loss), logarithms, largest[:, 0], log_of_sum[:, 0])
        names = self.onnx_node.output
        return tuple(array.astype(np.float32) for array, _ in zip(results, names))


class SoftmaxCrossEntropyLossGrad(OpRun):
    """The gradient of SoftmaxCrossEntropyLoss, from its second output.

    Or from its first input, and its third and fourth outputs.
    """

    op_domain = DOMAIN

    def _run(
        self,
        dy: Floats,
        logits: Floats,
        labels: NDArray[np.int64],
        largest: Floats | None = None,
        log_of_sum: Floats | None = None,
        cast_y: str = "",
        ignore_index: int | None = None,
        reduction: str = "mean",
    ) -> tuple[Floats]:
        logarithms = logits.astype(np.float64)
        for statistic in (largest, log_of_sum):
            logarithms -= 0 if statistic is None else statistic.astype(np.float64)[:, None]
        counted = labels != ignore_index
        scale = np.broadcast_to(dy, labels.shape).astype(np.float64)
        if reduction == "mean":
            scale = scale / max(counted.sum(), 1)
        chosen = np.where(counted, labels, 0)[:, None] == np.arange(logarithms.shape[1])
        gradient = (np.exp(logarithms) - chosen) * np.where(counted, scale, 0)[:, None]
        return (cast_as(gradient.astype(np.float32), cast_y),)


class SoftmaxGrad_13(OpRun):
    """The gradient of Softmax along the last dimension, from its output."""

    op_domain = DOMAIN

    def _run(self, dy: Floats, y: Floats, axis: int = -1) -> tuple[Floats]:
        shares = y.astype(np.float64)
        mean = (dy * shares).sum(-1, keepdims=True)
        return ((shares * (dy - mean)).astype(np.float32),)


GRADIENT_OPS: list[type[OpRun]] = [
    ReluGrad,
    ConvGrad,
    GatherGrad,
    LayerNormalizationGrad,
    MaxPool,
    MaxPoolGrad,
    SoftmaxCrossEntropyLoss,
    SoftmaxCrossEntropyLossGrad,
    SoftmaxGrad_13,
]

"""Conv and ConvTranspose of domain ``ai.onnxbf`` and gradients for ONNX's reference evaluator.

Each is a product of matrices (``reference_products``), which says what is summed in which order.
Where a window reaches beyond its image, or a weight meets no output, a product with zero is summed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxbf.arithmetic import PROFILES, parse_arithmetic
from onnxbf.custom_ops.reference_products import ProductOp, cast_as, product

Floats = NDArray[np.float32]
Sizes = Sequence[int]


@dataclass(frozen=True)
class _Geometry:
    """Where the windows of a convolution stand; each size has an entry for every dimension."""

    inputs: Sizes
    outputs: Sizes
    kernel: Sizes
    strides: Sizes
    dilations: Sizes
    around: Sequence[tuple[int, int]]

    def met(self) -> Iterator[tuple[Any, ...]]:
        """Which of the padded inputs each tap meets: one for each output, behind two dimensions."""
        for tap in itertools.product(*map(range, self.kernel)):
            firsts = [index * gap for index, gap in zip(tap, self.dilations)]
            ranges = (
                slice(first, first + size * step, step)
                for first, step, size in zip(firsts, self.strides, self.outputs)
            )
            yield (..., *ranges)

    def windows(self, x: Floats) -> Floats:
        """Of ``x`` [n, c, inputs ...] what each tap takes to each output: [n, c, taps, outputs]."""
        padded = np.pad(x, [(0, 0), (0, 0), *self.around])
        shape = (*x.shape[:2], math.prod(self.outputs))
        return np.stack([padded[met].reshape(shape) for met in self.met()], axis=2)

    def reached(self, dy: Floats) -> Floats:
        """Of ``dy`` [n, m, outputs ...] what each tap takes to each input: [n, m, taps, inputs]."""
        sizes = [size + sum(pads) for size, pads in zip(self.inputs, self.around)]
        inside: tuple[Any, ...] = (
            ...,
            *(slice(first, first + size) for (first, _), size in zip(self.around, self.inputs)),
        )
        shape, found = (*dy.shape[:2], math.prod(self.inputs)), []
        for met in self.met():
            padded = np.zeros((*dy.shape[:2], *sizes), np.float32)
            padded[met] = dy
            found.append(padded[inside].reshape(shape))
        return np.stack(found, axis=2)


def _geometry(x: Sizes, w: Sizes, outputs: Sizes | None, attributes: dict[str, Any]) -> _Geometry:
    """Takes its attributes out of ``attributes``; those of a product stay."""
    rank = len(x) - 2
    auto_pad = attributes.pop("auto_pad", None) or "NOTSET"
    pads = attributes.pop("pads", None) or [0] * 2 * rank
    strides = attributes.pop("strides", None) or [1] * rank
    dilations = attributes.pop("dilations", None) or [1] * rank
    attributes.pop("kernel_shape", None)
    around, sizes = [], []
    for d in range(rank):
        size, step = x[d + 2], strides[d]
        reach = (w[d + 2] - 1) * dilations[d] + 1
        first, last = (pads[d], pads[d + rank]) if auto_pad == "NOTSET" else (0, 0)
        if auto_pad.startswith("SAME"):
            count = -(-size // step) if outputs is None else outputs[d]
            total = max((count - 1) * step + reach - size, 0)
            first = total // 2 if auto_pad == "SAME_UPPER" else total - total // 2
            last = total - first
        around.append((first, last))
        sizes.append((size + first + last - reach) // step + 1)
    return _Geometry(x[2:], sizes, w[2:], strides, dilations, around)


def _transposed(x: Sizes, w: Sizes, attributes: dict[str, Any]) -> _Geometry:
    """Of the convolution of whose input ConvTranspose gives the gradient."""
    rank = len(x) - 2
    auto_pad = attributes.pop("auto_pad", None) or "NOTSET"
    pads = attributes.pop("pads", None) or [0] * 2 * rank
    strides = attributes.pop("strides", None) or [1] * rank
    dilations = attributes.pop("dilations", None) or [1] * rank
    more = attributes.pop("output_padding", None) or [0] * rank
    wanted = attributes.pop("output_shape", None)
    attributes.pop("kernel_shape", None)
    around, sizes = [], []
    for d in range(rank):
        spanned = (x[d + 2] - 1) * strides[d] + (w[d + 2] - 1) * dilations[d] + 1
        whole = spanned + more[d]
        first, last = (pads[d], pads[d + rank]) if auto_pad == "NOTSET" else (0, 0)
        size = whole - first - last
        if wanted is not None or auto_pad.startswith("SAME"):
            asked = x[d + 2] * strides[d] if wanted is None else wanted[d]
            cut = max(whole - asked, 0)
            first = cut // 2 if auto_pad == "SAME_UPPER" else cut - cut // 2
            size = whole - cut if wanted is None else asked
        around.append((first, max(spanned - first - size, 0)))
        sizes.append(size)
    return _Geometry(sizes, x[2:], w[2:], strides, dilations, around)


def _turned(attributes: dict[str, Any]) -> dict[str, Any]:
    """Of operators whose second input is the first factor of their product."""
    first, second = attributes.get("cast_a") or "", attributes.get("cast_b") or ""
    return {**attributes, "cast_a": second, "cast_b": first}


class Conv(ProductOp):
    """For each image and group: maps x outputs, summed over channels and, within one, over taps."""

    def _run(
        self,
        x: Floats,
        w: Floats,
        b: Floats | None = None,
        step: NDArray[np.int64] | None = None,
        group: int | None = 1,
        **attributes: Any,
    ) -> tuple[Floats]:
        groups, place = group or 1, _geometry(x.shape, w.shape, None, attributes)
        left = w.reshape(groups, len(w) // groups, -1)
        positions = math.prod(place.outputs)
        right = place.windows(x).reshape(len(x), groups, left.shape[-1], positions)
        term = None if b is None or b.size == 0 else b.reshape(groups, -1, 1)
        (y,) = self.compute(left, right, term, step, **_turned(attributes))
        return (y.reshape(len(x), len(w), *place.outputs),)


class _TowardsInputs(ProductOp):
    """For each image and group: channels x inputs, summed over maps and, within one, over taps."""

    def towards_inputs(
        self,
        dy: Floats,
        w: Floats,
        b: Floats | None,
        step: NDArray[np.int64] | None,
        groups: int,
        place: _Geometry,
        attributes: dict[str, Any],
    ) -> tuple[Floats]:
        maps, taps = len(w) // groups, math.prod(place.kernel)
        by_channel = np.moveaxis(w.reshape(groups, maps, w.shape[1], taps), 1, 2)
        left = by_channel.reshape(groups, w.shape[1], maps * taps)
        positions = math.prod(place.inputs)
        right = place.reached(dy).reshape(len(dy), groups, maps * taps, positions)
        term = None if b is None or b.size == 0 else b.reshape(groups, -1, 1)
        (dx,) = self.compute(left, right, term, step, **_turned(attributes))
        return (dx.reshape(len(dy), groups * w.shape[1], *place.inputs),)


class ConvTranspose(_TowardsInputs):
    """The same sums as ConvInputGrad's: its channels and inputs are the maps and outputs here."""

    def _run(
        self,
        x: Floats,
        w: Floats,
        b: Floats | None = None,
        step: NDArray[np.int64] | None = None,
        group: int | None = 1,
        **attributes: Any,
    ) -> tuple[Floats]:
        place = _transposed(x.shape, w.shape, attributes)
        return self.towards_inputs(x, w, b, step, group or 1, place, attributes)


class ConvInputGrad(_TowardsInputs):
    """The gradient of Conv's input."""

    def _run(
        self,
        dy: Floats,
        w: Floats,
        x: Floats,
        step: NDArray[np.int64] | None = None,
        group: int | None = 1,
        **attributes: Any,
    ) -> tuple[Floats]:
        place = _geometry(x.shape, w.shape, dy.shape[2:], attributes)
        return self.towards_inputs(dy, w, None, step, group or 1, place, attributes)


class ConvWeightGrad(ProductOp):
    """For each group: maps x (channels, taps), summed over images and, within one, over outputs.

    The gradient of the bias is summed likewise, in FP32.
    """

    def _run(
        self,
        dy: Floats,
        x: Floats,
        w: Floats,
        step: NDArray[np.int64] | None = None,
        group: int | None = 1,
        **attributes: Any,
    ) -> tuple[Floats, ...]:
        groups, place = group or 1, _geometry(x.shape, w.shape, dy.shape[2:], attributes)
        positions = math.prod(place.outputs)
        maps, columns = len(w) // groups, math.prod(w.shape[1:])
        planes = dy.reshape(len(x), groups, maps, positions)
        left = np.moveaxis(planes, 0, 2).reshape(groups, maps, len(x) * positions)
        windows = place.windows(x).reshape(len(x), groups, columns, positions)
        right = np.moveaxis(windows, 0, 2).reshape(groups, columns, len(x) * positions)
        (dw,) = self.compute(left, np.swapaxes(right, 1, 2), None, step, **attributes)
        if len(self.onnx_node.output) < 2:
            return (dw.reshape(w.shape),)
        operands = parse_arithmetic(attributes["arithmetic"]).operands
        sums = replace(PROFILES["fp32"], operands=operands)
        rounded = cast_as(left, attributes.get("cast_a") or "")
        ones = np.ones((len(x) * positions, 1), np.float32)
        return dw.reshape(w.shape), product(sums, rounded, ones).reshape(len(w))

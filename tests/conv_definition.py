"""Convolutions by ONNX's definition, product by product in float64: slow, for small tensors."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Place = tuple[int, ...]
Attributes = Mapping[str, Any]


def convolution_sums(
    wide: Doubles, w: Doubles, narrow: Doubles, attributes: Attributes
) -> tuple[Doubles, Doubles, Doubles]:
    """The three sums of products of two of these tensors by which a convolution joins them.

    Args:
        wide: what Conv reads, or ConvTranspose gives.
        narrow: what Conv gives, or ConvTranspose reads.

    Returns:
        Toward ``wide`` (ConvTranspose; the gradient of Conv's input), toward ``w`` (the gradient of
        both), toward ``narrow`` (Conv; the gradient of ConvTranspose's input).
    """
    sums = np.zeros(wide.shape), np.zeros(w.shape), np.zeros(narrow.shape)
    groups = attributes.get("group", 1)
    channels, maps = wide.shape[1] // groups, len(w) // groups
    for far, near, tap in _meetings(wide.shape[2:], w.shape[2:], narrow.shape[2:], attributes):
        for group in range(groups):
            inside = slice(group * channels, (group + 1) * channels)
            outside = slice(group * maps, (group + 1) * maps)
            at = (slice(None), inside, *far), (outside, slice(None), *tap)
            result = slice(None), outside, *near
            sums[0][at[0]] += narrow[result] @ w[at[1]]
            sums[1][at[1]] += narrow[result].T @ wide[at[0]]
            sums[2][result] += wide[at[0]] @ w[at[1]].T
    return sums


def _meetings(
    wide: Place, kernel: Place, narrow: Place, attributes: Attributes
) -> Iterator[tuple[Place, Place, Place]]:
    """Places that a tap joins, and the tap."""
    ones = [1] * len(wide)
    strides, dilations = (attributes.get(key, ones) for key in ("strides", "dilations"))
    pads = _first_pads(wide, kernel, narrow, attributes)
    for near in itertools.product(*map(range, narrow)):
        for tap in itertools.product(*map(range, kernel)):
            far = tuple(
                at * stride + index * gap - pad
                for at, stride, index, gap, pad in zip(near, strides, tap, dilations, pads)
            )
            if all(0 <= at < size for at, size in zip(far, wide)):
                yield far, near, tap


def _first_pads(wide: Place, kernel: Place, narrow: Place, attributes: Attributes) -> Sequence[int]:
    """Where sizes say how much is padded, ``SAME_UPPER`` has the smaller half at the beginning."""
    auto_pad = attributes.get("auto_pad", "NOTSET")
    if not auto_pad.startswith("SAME") and "output_shape" not in attributes:
        return list(attributes.get("pads", [0] * len(wide)))[: len(wide)]
    strides = attributes.get("strides", [1] * len(wide))
    totals = [
        max((small - 1) * stride + size - large, 0)
        for large, size, small, stride in zip(wide, kernel, narrow, strides)
    ]
    return [total // 2 if auto_pad == "SAME_UPPER" else (total + 1) // 2 for total in totals]

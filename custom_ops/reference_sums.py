"""What sums numbers in domain ``ai.onnxbf``, for ONNX's reference evaluator, written to be read.

Every sum is ``onnxbf.dot.total``; what comes before and after is float32, one rounding for each
operation. A NaN that such an operation gives is the quiet NaN 0x7FC00000.
"""

from __future__ import annotations

import decimal
import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun

from onnxbf.arithmetic import Arithmetic, parse_arithmetic
from onnxbf.custom_ops.reference_products import cast_as, key_of
from onnxbf.custom_ops.registry import DOMAIN
from onnxbf.dot import total
from onnxbf.errors import ModelError, OnnxbfError
from onnxbf.formats import FLOAT32, Cast
from onnxbf.philox import accumulator_words
from onnxbf.rounding import round_fraction

Floats = NDArray[np.float32]
_NAN = np.uint32(0x7FC00000).view(np.float32)
_ONE = np.float32(1)
_DIGITS = decimal.Context(prec=60)  # of e^x: no float32 number x needs more than some 30 of them


def sums(
    profile: Arithmetic,
    x: Floats,
    axes: Sequence[int],
    *,
    seed: int = 0,
    node: int = 0,
    step: int = 0,
    first: int = 0,
) -> Floats:
    """``x.sum(axes, keepdims=True)``, each sum computed as ``profile`` says, in the order of ``x``.

    Args:
        seed, node, step: the key of sums that are rounded stochastically.
        first: the place of the first sum, for them.
    """
    kept = [axis for axis in range(x.ndim) if axis not in axes]
    shape = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
    terms = math.prod(x.shape[axis] for axis in axes)
    rows = x.transpose(*kept, *sorted(axes)).reshape(math.prod(shape), terms)
    found = np.empty(len(rows), np.float32)
    count = profile.roundings_of(terms) if profile.stochastic else 0
    for place, row in enumerate(rows):
        words = accumulator_words(count, seed=seed, node=node, step=step, element=first + place)
        found[place] = total(profile, row, words if count else None)
    return found.reshape(shape)


def exponential(x: float) -> float:
    """e^x, rounded once to float32."""
    if math.isnan(x) or math.isinf(x):
        return x if x > 0 or math.isnan(x) else 0.0
    if abs(x) > 1000:
        return math.inf if x > 0 else 0.0
    return round_fraction(Fraction(_DIGITS.exp(decimal.Decimal(x))), Cast(FLOAT32))


def plain(numbers: Floats) -> Floats:
    """With 0x7FC00000 for every NaN."""
    return np.where(np.isnan(numbers), _NAN, numbers)


class SumOp(OpRun):
    """What the operators share: the profile, and errors that name the node."""

    op_domain = DOMAIN

    def profile(self, text: str) -> Arithmetic:
        try:
            return parse_arithmetic(text)
        except OnnxbfError as error:
            raise self.refusal(str(error)) from None

    def refusal(self, what: str) -> ModelError:
        return ModelError(f"{self.onnx_node.op_type} node {self.onnx_node.name!r}: {what}")

    def place(self, axis: int, x: Floats) -> int:
        """The index of an axis, which may be counted from the end."""
        if not -x.ndim <= axis < x.ndim:
            raise self.refusal(f"axis {axis} is no dimension of x, whose shape is {x.shape}.")
        return axis % x.ndim


class ReduceSum(SumOp):
    """ONNX's ReduceSum; where no profile is named, in float32, in order."""

    unnamed = "fp32"

    def _run(
        self,
        x: Floats,
        axes: NDArray[np.int64] | None = None,
        step: NDArray[np.int64] | None = None,
        *,
        keepdims: int = 1,
        noop_with_empty_axes: int = 0,
        arithmetic: str = "",
        cast_a: str = "",
        cast_y: str = "",
        seed: int = 0,
        node: int = 0,
    ) -> tuple[Floats]:
        x, profile = cast_as(x, cast_a), self.profile(arithmetic or self.unnamed)
        wanted = [] if axes is None else axes.tolist()
        if not wanted and noop_with_empty_axes:
            return (cast_as(x, cast_y),)
        over = {self.place(axis, x) for axis in wanted} or range(x.ndim)
        found = sums(profile, x, [*over], **key_of(seed, node, step))
        found = self.finish(found, math.prod(x.shape[axis] for axis in over))
        kept = found if keepdims else found.squeeze(tuple(over))
        return (np.asarray(cast_as(kept, cast_y)),)

    def finish(self, found: Floats, count: int) -> Floats:
        return found


class ReduceMean(ReduceSum):
    """ONNX's ReduceMean: the sum, divided by how many numbers it is of."""

    unnamed = ""

    def finish(self, found: Floats, count: int) -> Floats:
        return _mean(found, count)


def _mean(found: Floats, count: int) -> Floats:
    with np.errstate(all="ignore"):
        return plain(found / np.float32(count))


class Softmax(SumOp):
    """ONNX's Softmax, of opset 13 on.

    d = x - max(x), e = e^d, y = e / sum(e). Of NaN, there is no largest number: all of y is NaN.
    """

    def _run(
        self,
        x: Floats,
        step: NDArray[np.int64] | None = None,
        *,
        axis: int = -1,
        arithmetic: str = "",
        cast_a: str = "",
        cast_y: str = "",
        seed: int = 0,
        node: int = 0,
    ) -> tuple[Floats]:
        x, profile, along = cast_as(x, cast_a), self.profile(arithmetic), self.place(axis, x)
        if x.size == 0:
            return (x,)
        with np.errstate(all="ignore"):
            below = x - np.max(x, axis=along, keepdims=True)
            powers = np.array([exponential(float(d)) for d in below.flat], np.float32)
            powers = plain(powers).reshape(x.shape)
            y = plain(powers / sums(profile, powers, [along], **key_of(seed, node, step)))
        return (np.asarray(cast_as(y, cast_y)),)


def _in_float64(
    x: Floats, scale: Floats, bias: Floats | None, axis: int, epsilon: float
) -> tuple[Floats, ...]:
    """LayerNormalization in another arithmetic than kernels'."""
    inner = tuple(range(axis % x.ndim, x.ndim))
    mean = x.mean(inner, keepdims=True, dtype=np.float64)
    inverse = 1 / np.sqrt(((x - mean) ** 2).mean(inner, keepdims=True) + epsilon)
    shape = x.shape[axis % x.ndim :]
    y = (x - mean) * inverse * scale.reshape(shape)
    if bias is not None and bias.size:
        y = y + bias.reshape(shape)
    return tuple(np.asarray(array, np.float32) for array in (y, mean, inverse))


class LayerNormalization(SumOp):
    """ONNX's LayerNormalization, in the order of operations that its description has.

    m = sum(x) / n, d = x - m, v = sum(d * d) / n, r = 1 / sqrt(v + epsilon),
    y = d * r * scale + bias. Without an arithmetic, in float64, rounded once.
    """

    def _run(
        self,
        x: Floats,
        scale: Floats,
        bias: Floats | None = None,
        step: NDArray[np.int64] | None = None,
        *,
        axis: int = -1,
        epsilon: float = 1e-5,
        stash_type: int = 1,
        arithmetic: str = "",
        cast_a: str = "",
        cast_y: str = "",
        seed: int = 0,
        node: int = 0,
    ) -> tuple[Floats, ...]:
        names = self.onnx_node.output
        if not arithmetic:
            y, *statistics = _in_float64(x, scale, bias, axis, epsilon)
            return (np.asarray(cast_as(y, cast_y)), *statistics)[: len(names)]
        x, profile, key = cast_as(x, cast_a), self.profile(arithmetic), key_of(seed, node, step)
        first = self.place(axis, x)
        over, shape = [*range(first, x.ndim)], x.shape[first:]
        rows, width = math.prod(x.shape[:first]), math.prod(shape)
        with np.errstate(all="ignore"):
            mean = _mean(sums(profile, x, over, **key), width)
            centred = x - mean
            variance = _mean(sums(profile, centred * centred, over, **key, first=rows), width)
            inverse = plain(_ONE / np.sqrt(variance + np.float32(epsilon)))
            y = centred * inverse * scale.reshape(shape)
            if bias is not None and bias.size:
                y = y + bias.reshape(shape)
        results = (np.asarray(cast_as(plain(y), cast_y)), mean, inverse)
        return results[: len(names)]

"""The gradients of what sums numbers in domain ``ai.onnxbf``, for ONNX's reference evaluator.

Every sum is ``onnxbf.dot.total``; what comes before and after is float32, one rounding for each
operation, as in ``reference_sums``.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from onnxbf.custom_ops.reference_products import cast_as, key_of
from onnxbf.custom_ops.reference_sums import Floats, SumOp, plain, sums


class SoftmaxGrad(SumOp):
    """dx = y * (dy - sum(dy * y))"""

    def _run(
        self,
        dy: Floats,
        y: Floats,
        step: NDArray[np.int64] | None = None,
        *,
        axis: int = -1,
        arithmetic: str = "",
        cast_a: str = "",
        cast_b: str = "",
        cast_y: str = "",
        seed: int = 0,
        node: int = 0,
    ) -> tuple[Floats]:
        profile, along = self.profile(arithmetic), self.place(axis, y)
        dy, y = cast_as(dy, cast_a), cast_as(y, cast_b)
        with np.errstate(all="ignore"):
            found = sums(profile, plain(dy * y), [along], **key_of(seed, node, step))
            dx = plain((dy - found) * y)
        return (np.asarray(cast_as(dx, cast_y)),)


class LayerNormGrad(SumOp):
    """With n = (x - mean) * r and g = dy * scale, where r is the inverse deviation of N numbers.

    dx = (g - sum(g) / N - n * (sum(g * n) / N)) * r; of scale, the sum of dy * n over rows, of
    bias, that of dy.
    """

    def _run(
        self,
        dy: Floats,
        x: Floats,
        scale: Floats,
        mean: Floats,
        inverse_deviation: Floats,
        step: NDArray[np.int64] | None = None,
        *,
        axis: int = -1,
        arithmetic: str = "",
        cast_a: str = "",
        cast_b: str = "",
        cast_y: str = "",
        seed: int = 0,
        node: int = 0,
    ) -> tuple[Floats, ...]:
        profile, key = self.profile(arithmetic), key_of(seed, node, step)
        first, shape = self.place(axis, x), x.shape
        rows, width = math.prod(shape[:first]), math.prod(shape[first:])
        dy, x = (
            cast_as(given, cast).reshape(rows, width) for given, cast in ((dy, cast_a), (x, cast_b))
        )
        deviation = inverse_deviation.reshape(rows, 1)

        def total(terms: Floats, axis: int, place: int) -> Floats:
            return sums(profile, plain(terms), [axis], **key, first=place)

        with np.errstate(all="ignore"):
            normal = (x - mean.reshape(rows, 1)) * deviation
            scaled = dy * scale.reshape(1, width)
            count = np.float32(width)
            shift = total(scaled, 1, 0) / count
            stretch = total(scaled * normal, 1, rows) / count
            dx = plain((scaled - shift - normal * stretch) * deviation).reshape(shape)
            to_scale = total(dy * normal, 0, 2 * rows)
        to_bias = sums(profile, dy, [0], **key, first=2 * rows + width)
        results = (cast_as(dx, cast_y), to_scale.reshape(scale.shape), to_bias.reshape(scale.shape))
        names = self.onnx_node.output
        return tuple(np.asarray(array) for array, _ in zip(results, names))

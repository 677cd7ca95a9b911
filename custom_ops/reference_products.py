"""MatMul, FusedMatMul and Gemm of domain ``ai.onnxbf`` for ONNX's reference evaluator.

Every element is the scalar dot product of ``onnxbf.dot``: slow, and meant for small matrices.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun

from onnxbf.arithmetic import Arithmetic, parse_arithmetic
from onnxbf.custom_ops.registry import DOMAIN
from onnxbf.dot import dot
from onnxbf.errors import ModelError, OnnxbfError
from onnxbf.formats import parse_cast
from onnxbf.rounding import round_array

Floats = NDArray[np.float32]


def product(arithmetic: Arithmetic, a: Floats, b: Floats) -> Floats:
    """``np.matmul(a, b)``, each element computed as ``arithmetic`` says.

    Raises:
        ValueError: shapes that do not fit together.
    """
    left = a[np.newaxis, :] if a.ndim == 1 else a
    right = b[:, np.newaxis] if b.ndim == 1 else b
    if a.ndim == 0 or b.ndim == 0 or left.shape[-1] != right.shape[-2]:
        raise ValueError(f"shapes {a.shape} and {b.shape} do not fit together")
    batch = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    left = np.broadcast_to(left, batch + left.shape[-2:])
    right = np.broadcast_to(right, batch + right.shape[-2:])
    found = np.empty((*batch, left.shape[-2], right.shape[-1]), np.float32)
    for place in np.ndindex(found.shape):
        *where, row, column = place
        found[place] = dot(arithmetic, left[(*where, row)], right[(*where, slice(None), column)])
    if a.ndim == 1:
        found = found[..., 0, :]
    return found[..., 0] if b.ndim == 1 else found


class _Product(OpRun):
    """What the operators share: casts of operands and result, and errors that name the node."""

    op_domain = DOMAIN

    def _compute(
        self,
        a: Floats,
        b: Floats,
        c: Floats | None = None,
        *,
        alpha: float = 1.0,
        beta: float = 1.0,
        arithmetic: str = "",
        cast_a: str = "",
        cast_b: str = "",
        cast_y: str = "",
    ) -> tuple[Floats]:
        try:
            sums = product(parse_arithmetic(arithmetic), _cast(a, cast_a), _cast(b, cast_b))
        except (OnnxbfError, ValueError) as error:
            node = self.onnx_node
            raise ModelError(f"{node.op_type} node {node.name!r}: {error}") from None
        if alpha != 1.0:
            sums = np.float32(alpha) * sums
        if c is not None:
            sums = sums + (c if beta == 1.0 else np.float32(beta) * c)
        return (np.asarray(_cast(np.asarray(sums, np.float32), cast_y)),)


def _cast(array: Floats, text: str) -> Floats:
    return round_array(array, parse_cast(text)) if text else array


def _turned(matrix: Floats, transposed: int) -> Floats:
    return np.swapaxes(matrix, -1, -2) if transposed and matrix.ndim > 1 else matrix


class MatMul(_Product):
    """The product of two tensors of matrices."""

    def _run(self, a: Floats, b: Floats, **attributes: Any) -> tuple[Floats]:
        return self._compute(a, b, **attributes)


class FusedMatMul(_Product):
    """The same, of matrices that may be transposed, times a factor."""

    def _run(
        self, a: Floats, b: Floats, transA: int = 0, transB: int = 0, **attributes: Any
    ) -> tuple[Floats]:
        return self._compute(_turned(a, transA), _turned(b, transB), **attributes)


class Gemm(_Product):
    """The product of two matrices, and a third added."""

    def _run(
        self,
        a: Floats,
        b: Floats,
        c: Floats | None = None,
        transA: int = 0,
        transB: int = 0,
        **attributes: Any,
    ) -> tuple[Floats]:
        return self._compute(_turned(a, transA), _turned(b, transB), c, **attributes)

"""The matrix products of domain ``ai.onnxbf`` for ONNX's reference evaluator.

Every element is the scalar dot product of ``onnxbf.dot``: slow, and meant for small matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun

from onnxbf.arithmetic import Arithmetic, parse_arithmetic
from onnxbf.custom_ops.elementwise import parse_program
from onnxbf.custom_ops.registry import DOMAIN
from onnxbf.dot import dot
from onnxbf.errors import ModelError, OnnxbfError
from onnxbf.formats import FLOAT32, Cast, parse_cast
from onnxbf.philox import accumulator_words
from onnxbf.rounding import round_array

Floats = NDArray[np.float32]


def product(
    arithmetic: Arithmetic,
    a: Floats,
    b: Floats,
    *,
    seed: int = 0,
    node: int = 0,
    step: int = 0,
    first: int = 0,
) -> Floats:
    """``np.matmul(a, b)``, each element computed as ``arithmetic`` says.

    Args:
        seed, node, step: the key of sums that are rounded stochastically.
        first: the place of the first element, where this is part of a larger product.

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
    count = arithmetic.roundings_of(left.shape[-1]) if arithmetic.stochastic else 0
    for element, place in enumerate(np.ndindex(found.shape)):
        *where, row, column = place
        words = accumulator_words(count, seed=seed, node=node, step=step, element=first + element)
        numbers = left[(*where, row)], right[(*where, slice(None), column)]
        found[place] = dot(arithmetic, *numbers, words if count else None)
    if a.ndim == 1:
        found = found[..., 0, :]
    return found[..., 0] if b.ndim == 1 else found


class ProductOp(OpRun):
    """What the operators share: casts of operands and result, and errors that name the node."""

    op_domain = DOMAIN

    def compute(
        self,
        a: Floats,
        b: Floats,
        c: Floats | None = None,
        step: NDArray[np.int64] | None = None,
        *,
        alpha: float = 1.0,
        beta: float = 1.0,
        arithmetic: str = "",
        cast_a: str = "",
        cast_b: str = "",
        cast_y: str = "",
        seed: int = 0,
        node: int = 0,
        rounded_a: int = 0,
        rounded_b: int = 0,
    ) -> tuple[Floats]:
        key = key_of(seed, node, step)
        try:
            profile = parse_arithmetic(arithmetic)
            for factor, text, rounded in ((a, cast_a, rounded_a), (b, cast_b, rounded_b)):
                if rounded:
                    _check_rounded(factor, text, profile.operands)
            sums = product(profile, cast_as(a, cast_a), cast_as(b, cast_b), **key)
        except (OnnxbfError, ValueError) as error:
            failed = self.onnx_node
            raise ModelError(f"{failed.op_type} node {failed.name!r}: {error}") from None
        if alpha != 1.0:
            sums = np.float32(alpha) * sums
        if c is not None:
            with np.errstate(invalid="ignore", over="ignore"):
                sums = sums + (c if beta == 1.0 else np.float32(beta) * c)
        return (np.asarray(cast_as(np.asarray(sums, np.float32), cast_y)),)


def _check_rounded(factor: Floats, text: str, operands: Cast | None) -> None:
    """Refuse what has bits in its mantissas that its casts would drop; kernels do not look."""
    casts = [cast for cast in (text and parse_cast(text), operands) if isinstance(cast, Cast)]
    dropped = FLOAT32.mantissa_bits - min((c.format.mantissa_bits for c in casts), default=23)
    if np.any(factor.view(np.uint32) & np.uint32(2**dropped - 1)):
        raise ValueError("a factor that is said to be rounded is not")


def key_of(seed: int, node: int, step: NDArray[np.int64] | None) -> dict[str, int]:
    """The key of sums that are rounded stochastically, from attributes and an input of a node."""
    return {"seed": seed, "node": node, "step": 0 if step is None else int(step)}


def cast_as(array: Floats, text: str) -> Floats:
    """Rounded as the text of a cast says; as it is where that is empty."""
    return round_array(array, parse_cast(text)) if text else array


def _ordered(tensor: Floats, order: Sequence[int]) -> Floats:
    return np.transpose(tensor, order) if len(order) else tensor


def _turned(matrix: Floats, transposed: int) -> Floats:
    return np.swapaxes(matrix, -1, -2) if transposed and matrix.ndim > 1 else matrix


class MatMul(ProductOp):
    """The product of two tensors of matrices."""

    def _run(
        self,
        a: Floats,
        b: Floats,
        step: NDArray[np.int64] | None = None,
        perm_a: Sequence[int] = (),
        perm_b: Sequence[int] = (),
        perm_y: Sequence[int] = (),
        **attributes: Any,
    ) -> tuple[Floats]:
        (y,) = self.compute(_ordered(a, perm_a), _ordered(b, perm_b), None, step, **attributes)
        return (_ordered(y, perm_y),)


class FusedMatMul(ProductOp):
    """The same, of matrices that may be transposed, times a factor."""

    def _run(
        self,
        a: Floats,
        b: Floats,
        step: NDArray[np.int64] | None = None,
        transA: int = 0,
        transB: int = 0,
        perm_a: Sequence[int] = (),
        perm_b: Sequence[int] = (),
        perm_y: Sequence[int] = (),
        **attributes: Any,
    ) -> tuple[Floats]:
        left, right = _turned(_ordered(a, perm_a), transA), _turned(_ordered(b, perm_b), transB)
        (y,) = self.compute(left, right, None, step, **attributes)
        return (_ordered(y, perm_y),)


class MatMulElementwise(ProductOp):
    """FusedMatMul, and a program of which its result is x0."""

    def _run(
        self,
        a: Floats,
        b: Floats,
        *others: Floats,
        transA: int = 0,
        transB: int = 0,
        perm_a: Sequence[int] = (),
        perm_b: Sequence[int] = (),
        program: str = "",
        **attributes: Any,
    ) -> tuple[Floats]:
        left, right = _turned(_ordered(a, perm_a), transA), _turned(_ordered(b, perm_b), transB)
        (product,) = self.compute(left, right, **attributes)
        try:
            (y,) = parse_program(program).run([product, *others], [])
        except (OnnxbfError, ValueError) as error:
            failed = self.onnx_node
            raise ModelError(f"{failed.op_type} node {failed.name!r}: {error}") from None
        return (y,)


class Gemm(ProductOp):
    """The product of two matrices, and a third added."""

    def _run(
        self,
        a: Floats,
        b: Floats,
        c: Floats | None = None,
        step: NDArray[np.int64] | None = None,
        transA: int = 0,
        transB: int = 0,
        **attributes: Any,
    ) -> tuple[Floats]:
        return self.compute(_turned(a, transA), _turned(b, transB), c, step, **attributes)

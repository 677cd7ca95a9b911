"""What the CPU's own instructions convert to and sum: judges of the kernels, where it has them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onnxbf.arithmetic import Arithmetic
from onnxbf.custom_ops.library import load
from onnxbf.custom_ops.specs import cast_spec
from onnxbf.formats import Cast


def cpu_codes(source: NDArray[np.float32], cast: Cast) -> NDArray[np.uint16] | None:
    """The codes that the CPU's own instruction gives; None where it has none for ``cast``.

    Args:
        source: contiguous, a multiple of 16 numbers.
        cast: to bfloat16 or float16, not saturating. x86 has ``bf16:rne{subnormals=flush}``
            (VCVTNEPS2BF16), and rne, rtz, rup and rdn to float16 (VCVTPS2PH). Arm has these four to
            both (BFCVTN, FCVTN), and to bfloat16 flushing and not.
    """
    if source.size % 16:
        raise ValueError(f"{source.size} numbers are no multiple of 16")
    codes = np.empty(source.shape, np.uint16)
    converted = load().onnxbf_cpu_codes(
        cast_spec(cast), source.ctypes.data, codes.ctypes.data, source.size
    )
    return codes if converted else None


def cpu_dots(
    profile: Arithmetic, a: NDArray[np.uint16], b: NDArray[np.uint16]
) -> NDArray[np.float32] | None:
    """Dot products of bfloat16 codes by the CPU's own instruction; None where it has none.

    Args:
        profile: ``avx512_bf16`` (VDPBF16PS), ``amx_bf16`` (TDPBF16PS), ``arm_bf16`` (BFDOT) or
            ``arm_ebf16`` (BFDOT, with FPCR.EBF set).
        a, b: contiguous, of shape (dots, products): a multiple of 16, and an even number.
    """
    if a.shape != b.shape or a.ndim != 2 or a.shape[0] % 16 or a.shape[1] % 2:
        raise ValueError(f"shapes {a.shape} and {b.shape} are not those of dot products")
    dots = np.empty(a.shape[0], np.float32)
    count, products = a.shape
    computed = load().onnxbf_cpu_dots(
        str(profile).encode(), a.ctypes.data, b.ctypes.data, dots.ctypes.data, count, products // 2
    )
    return dots if computed else None

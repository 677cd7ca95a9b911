"""The kernels on NumPy arrays: ``onnxbf.quantize``."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from onnxbf.custom_ops.kernels import kernels
from onnxbf.custom_ops.library import RandomKey
from onnxbf.errors import UnsupportedError
from onnxbf.formats import Cast, parse_cast


def quantize(
    array: NDArray[np.float32],
    cast: str | Cast,
    *,
    seed: int = 0,
    node: int = 0,
    step: int = 0,
    offset: int = 0,
    out: NDArray[np.float32] | None = None,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Round every element into a number format; the result is float32 again.

        >>> quantize(np.float32([1.01, 3.14159, -0.1]), "bf16")
        array([ 1.0078125 ,  3.140625  , -0.10009766], dtype=float32)

    Stochastic rounding gives the same bits for the same ``seed``, ``node``, ``step`` and index of
    an element, whatever the number of threads or the CPU.

    Args:
        array: float32, any shape. Contiguous arrays are read where they lie; others are copied
            once, into the result.
        cast: as ``onnxbf.formats.parse_cast`` reads it, such as ``"bf16:sr"`` or
            ``"e4m3fn{overflow=saturate}"``.
        seed, node, step: key of the random numbers, of 64, 32 and 32 bits.
        offset: index of the first element, where ``array`` is a slice of a longer one.
        out: where to put the result: contiguous, of the shape of ``array``; may be ``array``.
        threads: how many to use at most; all that this process may use, where None.

    Raises:
        UnsupportedError: an array of another type, an unusable ``out``, or a key out of range.
        NameUnknown, SpecError: a cast that cannot be read.
        KernelError: the kernel library is missing or unusable.
    """
    array = np.asarray(array)
    _check_float32("array", array)
    key = _random_key(seed, node, step)
    _check_range("offset", offset, 62)
    _check_range("threads", 1 if threads is None else threads, 16, least=1)
    result = np.empty(array.shape, np.float32) if out is None else out
    _check_result(result, array)
    source = array if _usable_in_place(array, result) else _copied(array, result)
    kernels().quantize_dequantize(
        source,
        result,
        parse_cast(cast) if isinstance(cast, str) else cast,
        key,
        begin=offset,
        threads=all_threads() if threads is None else threads,
    )
    return result


def _check_float32(name: str, array: NDArray[np.float32]) -> None:
    if array.dtype != np.float32:
        raise UnsupportedError(
            f"{name} is of type {array.dtype}: expected float32. Convert it: .astype(np.float32)."
        )


def _check_result(out: NDArray[np.float32], array: NDArray[np.float32]) -> None:
    _check_float32("out", out)
    if out.shape != array.shape:
        raise UnsupportedError(f"out has shape {out.shape}: expected that of array, {array.shape}.")
    if not (out.flags.c_contiguous and out.flags.writeable and out.flags.aligned):
        raise UnsupportedError("out must be writeable, aligned and contiguous (in C order).")


def _usable_in_place(array: NDArray[np.float32], result: NDArray[np.float32]) -> bool:
    """Whether the kernels can read ``array`` as it lies: they take no partial overlap."""
    same = array.ctypes.data == result.ctypes.data
    return (
        array.flags.c_contiguous
        and array.flags.aligned
        and (same or not np.may_share_memory(array, result))
    )


def _copied(array: NDArray[np.float32], result: NDArray[np.float32]) -> NDArray[np.float32]:
    np.copyto(result, array)
    return result


def _random_key(seed: int, node: int, step: int) -> RandomKey:
    _check_range("seed", seed, 64)
    _check_range("node", node, 32)
    _check_range("step", step, 32)
    return RandomKey(seed, node, step)


def _check_range(name: str, value: int, bits: int, *, least: int = 0) -> None:
    if not least <= value < 2**bits:
        raise UnsupportedError(f"{name}={value}: expected {least} to 2^{bits} - 1.")


def all_threads() -> int:
    """How many threads this process may run at a time."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

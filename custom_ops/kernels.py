"""The kernels, one object for each instruction set: ctypes behind, NumPy arrays in front."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxbf.arithmetic import Arithmetic
from onnxbf.block_cast import BlockCast
from onnxbf.custom_ops.elementwise import Program
from onnxbf.custom_ops.library import RandomKey, instruction_sets, load
from onnxbf.custom_ops.observation import ROUNDING_FIELDS, UPDATE_FIELDS
from onnxbf.custom_ops.specs import (
    block_spec,
    cast_spec,
    range_spec,
    scaled_spec,
    storage_spec,
)
from onnxbf.encoding import code_type
from onnxbf.errors import KernelError, UnsupportedError
from onnxbf.formats import Cast, NumberFormat
from onnxbf.range_cast import RangeCast
from onnxbf.scaled_cast import ScaledCast


@dataclass(frozen=True, slots=True)
class Kernels:
    """The kernels of one instruction set, on contiguous arrays."""

    name: str
    handle: int

    def quantize_dequantize(
        self,
        source: NDArray[np.float32],
        target: NDArray[np.float32],
        cast: Cast,
        key: RandomKey,
        *,
        begin: int = 0,
        threads: int = 1,
    ) -> None:
        """Round ``source`` into ``target``; the two may be the same array, not overlap otherwise.

        Args:
            begin: index of the first element, for random numbers.
        """
        load().onnxbf_quantize_dequantize(
            self.handle, cast_spec(cast), key, source.ctypes.data, target.ctypes.data,
            begin, begin + source.size, threads,
        )  # fmt: skip

    def quantize(
        self,
        source: NDArray[np.float32],
        cast: Cast,
        key: RandomKey,
        *,
        begin: int = 0,
        threads: int = 1,
    ) -> NDArray[np.unsignedinteger]:
        """The codes of ``source``, rounded."""
        codes = np.empty(source.shape, code_type(cast.format))
        load().onnxbf_quantize(
            self.handle, storage_spec(cast), key, source.ctypes.data, codes.ctypes.data,
            begin, begin + source.size, threads,
        )  # fmt: skip
        return codes

    def dequantize(
        self, codes: NDArray[np.unsignedinteger], fmt: NumberFormat, *, threads: int = 1
    ) -> NDArray[np.float32]:
        """The numbers that ``codes`` (of type ``code_type(fmt)``) stand for."""
        numbers = np.empty(codes.shape, np.float32)
        load().onnxbf_dequantize(
            self.handle, storage_spec(Cast(fmt)), codes.ctypes.data, numbers.ctypes.data,
            codes.size, threads,
        )  # fmt: skip
        return numbers

    def observe_rounding(
        self,
        source: NDArray[np.float32],
        target: NDArray[np.float32],
        cast: Cast,
        key: RandomKey,
        *,
        begin: int = 0,
        threads: int = 1,
    ) -> NDArray[np.float64]:
        """``quantize_dequantize``, and what it did: what ``observation.observe_rounding`` gives."""
        fields = np.empty(len(ROUNDING_FIELDS))
        load().onnxbf_observe_rounding(
            self.handle, cast_spec(cast), key, source.ctypes.data, target.ctypes.data,
            begin, begin + source.size, threads, fields.ctypes.data,
        )  # fmt: skip
        return fields

    def observe_update(
        self,
        update: NDArray[np.float32],
        before: NDArray[np.float32],
        after: NDArray[np.float32],
        cast: Cast,
        *,
        threads: int = 1,
    ) -> NDArray[np.float64]:
        """What ``observation.observe_update`` gives; random bits are those of no seed."""
        fields = np.empty(len(UPDATE_FIELDS))
        load().onnxbf_observe_update(
            self.handle, cast_spec(cast), update.ctypes.data, before.ctypes.data,
            after.ctypes.data, before.size, threads, fields.ctypes.data,
        )  # fmt: skip
        return fields

    def random_words(self, count: int, key: RandomKey, *, begin: int = 0) -> NDArray[np.uint32]:
        """What ``onnxbf.philox.random_words`` gives."""
        words = np.empty(count, np.uint32)
        load().onnxbf_random_words(self.handle, key, words.ctypes.data, begin, begin + count)
        return words

    def matmul(
        self,
        a: NDArray[np.float32],
        b: NDArray[np.float32],
        arithmetic: Arithmetic,
        *,
        key: RandomKey | None = None,
        threads: int = 1,
    ) -> NDArray[np.float32]:
        """The product of two matrices, computed as ``arithmetic`` says.

        Args:
            a: rows x inner. b: inner x columns.
            key: of sums that are rounded stochastically.

        Raises:
            UnsupportedError: a profile that the kernels do not have.
        """
        text = _profile_text(arithmetic)
        a, b = (np.ascontiguousarray(matrix, np.float32) for matrix in (a, b))
        if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
            raise ValueError(f"matrices of shapes {a.shape} and {b.shape} cannot be multiplied")
        product = np.empty((a.shape[0], b.shape[1]), np.float32)
        load().onnxbf_matmul(
            self.handle, text, a.ctypes.data, b.ctypes.data, product.ctypes.data,
            *a.shape, b.shape[1], key or RandomKey(), threads,
        )  # fmt: skip
        return product

    def sums(
        self,
        x: NDArray[np.float32],
        arithmetic: Arithmetic,
        axis: int = -1,
        *,
        key: RandomKey | None = None,
        threads: int = 1,
    ) -> NDArray[np.float32]:
        """Sums along an axis, computed as ``arithmetic`` says: what ``dot.total`` gives of each.

        Raises:
            UnsupportedError: a profile that the kernels do not have.
        """
        text, x, axis = _profile_text(arithmetic), np.ascontiguousarray(x), axis % x.ndim
        before, after = x.shape[:axis], x.shape[axis + 1 :]
        found = np.empty(before + after, np.float32)
        load().onnxbf_sum(
            self.handle, text, x.ctypes.data, found.ctypes.data,
            math.prod(before), x.shape[axis], math.prod(after), key or RandomKey(), threads,
        )  # fmt: skip
        return found

    def exponentials(self, x: NDArray[np.float32], *, threads: int = 1) -> NDArray[np.float32]:
        """Each number's exponential, rounded once."""
        x = np.ascontiguousarray(x)
        found = np.empty_like(x)
        load().onnxbf_exponentials(self.handle, x.ctypes.data, found.ctypes.data, x.size, threads)
        return found

    def elementwise(
        self,
        program: Program,
        inputs: Sequence[NDArray[np.float32]],
        shared: Sequence[NDArray[np.float32]] = (),
        *,
        threads: int = 1,
    ) -> list[NDArray[np.float32]]:
        """What ``program.run`` gives.

        Raises:
            UnsupportedError: a program that the kernels cannot run.
        """
        text = str(program).encode()
        problem: bytes | None = load().onnxbf_program_problem(text)
        if problem is not None:
            raise UnsupportedError(f"No kernel runs {program!s}: {problem.decode()}.")
        if (len(inputs), len(shared)) != (program.count("x"), program.count("s")):
            raise ValueError(f"{program!s} takes another number of tensors")
        shape = inputs[0].shape
        periods = (ctypes.c_int64 * len(inputs))(*(array.size for array in inputs))
        outputs = [np.empty(shape, np.float32) for _ in range(program.count("y"))]
        load().onnxbf_elementwise(
            self.handle, text, _pointers(inputs), periods, _pointers(shared), _pointers(outputs),
            inputs[0].size, threads,
        )  # fmt: skip
        return outputs

    def quantize_range(
        self,
        x: NDArray[np.float32],
        cast: RangeCast,
        key: RandomKey | None = None,
        *,
        threads: int = 1,
    ) -> NDArray[np.float32]:
        """What ``range_quantizer.quantize_range`` gives; ``x`` is (samples, ...) and contiguous."""
        out = np.empty_like(x)
        rows = x.shape[0] if x.ndim else 1
        load().onnxbf_quantize_range(
            self.handle, range_spec(cast), key or RandomKey(), x.ctypes.data, out.ctypes.data,
            rows, x.size // max(rows, 1), threads,
        )  # fmt: skip
        return out

    def quantize_blocks(
        self,
        x: NDArray[np.float32],
        cast: BlockCast,
        key: RandomKey | None = None,
        *,
        threads: int = 1,
    ) -> NDArray[np.float32]:
        """What ``block_quantizer.quantize_blocks`` gives; ``x`` is contiguous."""
        axis = cast.axis % x.ndim
        sizes = math.prod(x.shape[:axis]), x.shape[axis], math.prod(x.shape[axis + 1 :])
        out = np.empty_like(x)
        load().onnxbf_quantize_blocks(
            self.handle, block_spec(cast), key or RandomKey(), x.ctypes.data, out.ctypes.data,
            *sizes, threads,
        )  # fmt: skip
        return out

    def quantize_scaled(
        self,
        x: NDArray[np.float32],
        cast: ScaledCast,
        state: NDArray[np.float32] | None = None,
        key: RandomKey | None = None,
        *,
        threads: int = 1,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """What ``scaled_quantizer.quantize_scaled`` gives, and ``next_state`` of a state.

        Args:
            x: contiguous.
            state: as long as delayed scaling needs it; None for a current one.
        """
        out, after = np.empty_like(x), None if state is None else np.empty_like(state)
        load().onnxbf_quantize_scaled(
            self.handle, scaled_spec(cast), key or RandomKey(), x.ctypes.data, out.ctypes.data,
            x.size, (state is not None and state.ctypes.data) or None,
            (after is not None and after.ctypes.data) or None, threads,
        )  # fmt: skip
        return out, after


def _profile_text(arithmetic: Arithmetic) -> bytes:
    text = str(arithmetic).encode()
    problem: bytes | None = load().onnxbf_arithmetic_problem(text)
    if problem is not None:
        raise UnsupportedError(f"No kernel computes as {arithmetic}: {problem.decode()}")
    return text


def _pointers(arrays: Sequence[NDArray[np.float32]]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))


def kernels(instruction_set: str | None = None) -> Kernels:
    """The kernels of an instruction set; of the one in use where none is given.

    Raises:
        KernelError: this CPU lacks it, or as ``library_path`` does.
    """
    functions = load()
    name = instruction_set or functions.onnxbf_instruction_set().decode()
    handle = functions.onnxbf_find_kernels(name.encode())
    if handle is None:
        known = ", ".join(instruction_sets())
        raise KernelError(f"This CPU has no instruction set {name!r}: choose one of {known}.")
    return Kernels(name, handle)

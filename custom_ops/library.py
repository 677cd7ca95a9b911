"""The kernel library (csrc/c_api.h), seen through ctypes: the one place that declares it again."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxbf.encoding import code_type
from onnxbf.errors import KernelError, UnsupportedError
from onnxbf.formats import (
    BFLOAT16,
    FLOAT16,
    Cast,
    NumberFormat,
    Overflow,
    Rounding,
    Specials,
    Subnormals,
)

INSTRUCTION_SET_VARIABLE = "ONNXBF_INSTRUCTION_SET"
_INTERFACE = 1  # kInterface in csrc/c_api.h
_REBUILD = "Build it anew for this machine: pip install --force-reinstall ."


class CastSpec(ctypes.Structure):
    """``onnxbf::CastSpec`` of csrc/kernels.h."""

    _fields_ = tuple(
        (name, ctypes.c_int32)
        for name in (
            "exponent_bits",
            "mantissa_bits",
            "specials",
            "rounding",
            "flush",
            "saturate",
            "random_bits",
        )
    )


class RandomKey(ctypes.Structure):
    """``onnxbf::RandomKey``: with an element's index, what its random bits depend on."""

    _fields_ = (("seed", ctypes.c_uint64), ("node", ctypes.c_uint32), ("step", ctypes.c_uint32))


_SPEC, _KEY, _DATA = ctypes.POINTER(CastSpec), ctypes.POINTER(RandomKey), ctypes.c_void_p
_INDEX, _INT, _TEXT = ctypes.c_int64, ctypes.c_int32, ctypes.c_char_p

_DECLARATIONS: dict[str, tuple[Any, ...]] = {  # the result, then the arguments
    "onnxbf_interface": (_INT,),
    "onnxbf_instruction_set_name": (_TEXT, _INT),
    "onnxbf_kernel_name": (_TEXT, _INT),
    "onnxbf_instruction_set": (_TEXT,),
    "onnxbf_round_kernel": (_TEXT, _SPEC),
    "onnxbf_problem": (_TEXT, _SPEC),
    "onnxbf_storage_problem": (_TEXT, _SPEC),
    "onnxbf_find_kernels": (_DATA, _TEXT),
    "onnxbf_quantize_dequantize": (
        None, _DATA, _SPEC, _KEY, _DATA, _DATA, _INDEX, _INDEX, _INT,
    ),
    "onnxbf_quantize": (None, _DATA, _SPEC, _KEY, _DATA, _DATA, _INDEX, _INDEX, _INT),
    "onnxbf_dequantize": (None, _DATA, _SPEC, _DATA, _DATA, _INDEX, _INT),
    "onnxbf_random_words": (None, _DATA, _KEY, _DATA, _INDEX, _INDEX),
    "onnxbf_cpu_bfloat16": (_INT, _DATA, _DATA, _INDEX, _INT),
    "onnxbf_cpu_float16": (_INT, _DATA, _DATA, _INDEX, _INT),
}  # fmt: skip


def library_path() -> Path:
    """Where the kernel library lies, once it is known to load.

    Raises:
        KernelError: it is absent, was built for another platform or another version of onnxbf, or
            ONNXBF_INSTRUCTION_SET names an instruction set that this CPU lacks.
    """
    path = _expected_path()
    _load(path)
    return path


def _expected_path() -> Path:
    suffix = ".dylib" if sys.platform == "darwin" else ".so"
    return Path(__file__).resolve().parent / f"libonnxbf{suffix}"


@functools.cache
def _load(path: Path) -> ctypes.CDLL:
    if not path.is_file():
        raise KernelError(f"The kernel library {path} is missing. {_REBUILD}")
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise KernelError(
            f"The kernel library was built for another platform: {error}. {_REBUILD}"
        ) from None
    for name, (result, *arguments) in _DECLARATIONS.items():
        function = getattr(library, name, None)
        if function is None:
            raise KernelError(f"The kernel library {path} lacks {name}. {_REBUILD}")
        function.restype, function.argtypes = result, arguments
    if library.onnxbf_interface() != _INTERFACE:
        raise KernelError(f"The kernel library {path} is of another version. {_REBUILD}")
    wanted, present = os.environ.get(INSTRUCTION_SET_VARIABLE), _names(library)
    if wanted and wanted not in present:
        raise KernelError(
            f"{INSTRUCTION_SET_VARIABLE}={wanted} names no instruction set of this CPU: choose one "
            f"of {', '.join(present)}, or unset it."
        )
    return library


def _names(library: ctypes.CDLL) -> tuple[str, ...]:
    return _texts(library.onnxbf_instruction_set_name)


def _texts(getter: Any) -> tuple[str, ...]:
    found: list[str] = []
    while (text := getter(len(found))) is not None:
        found.append(text.decode())
    return tuple(found)


def instruction_sets() -> tuple[str, ...]:
    """The instruction sets of this CPU that have kernels, best last."""
    return _names(_load(_expected_path()))


def kernel_names() -> tuple[str, ...]:
    """All kernels that every instruction set has (csrc/kernels.inc)."""
    return _texts(_load(_expected_path()).onnxbf_kernel_name)


def round_kernel(cast: Cast) -> str:
    """The name of the kernel that rounds as ``cast`` says."""
    name: bytes = _load(_expected_path()).onnxbf_round_kernel(cast_spec(cast))
    return name.decode()


def cast_spec(cast: Cast) -> CastSpec:
    """``cast`` as the kernels take it.

    Raises:
        UnsupportedError: a format that float32 cannot hold.
    """
    spec = CastSpec(
        exponent_bits=cast.format.exponent_bits,
        mantissa_bits=cast.format.mantissa_bits,
        specials=list(Specials).index(cast.format.specials),
        rounding=list(Rounding).index(cast.rounding),
        flush=cast.subnormals is Subnormals.FLUSH,
        saturate=cast.overflow is Overflow.SATURATE,
        random_bits=cast.random_bits,
    )
    problem: bytes | None = _load(_expected_path()).onnxbf_problem(spec)
    if problem is not None:
        raise UnsupportedError(f"No kernel rounds to {cast}: {problem.decode()}.")
    return spec


def storage_spec(cast: Cast) -> CastSpec:
    """The same for a format whose numbers are to be stored as codes.

    Raises:
        UnsupportedError: a format that the kernels do not store.
    """
    spec = cast_spec(cast)
    problem: bytes | None = _load(_expected_path()).onnxbf_storage_problem(spec)
    if problem is not None:
        raise UnsupportedError(f"No kernel stores {cast.format}: {problem.decode()}.")
    return spec


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
        _load(_expected_path()).onnxbf_quantize_dequantize(
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
        _load(_expected_path()).onnxbf_quantize(
            self.handle, storage_spec(cast), key, source.ctypes.data, codes.ctypes.data,
            begin, begin + source.size, threads,
        )  # fmt: skip
        return codes

    def dequantize(
        self, codes: NDArray[np.unsignedinteger], fmt: NumberFormat, *, threads: int = 1
    ) -> NDArray[np.float32]:
        """The numbers that ``codes`` (of type ``code_type(fmt)``) stand for."""
        numbers = np.empty(codes.shape, np.float32)
        _load(_expected_path()).onnxbf_dequantize(
            self.handle, storage_spec(Cast(fmt)), codes.ctypes.data, numbers.ctypes.data,
            codes.size, threads,
        )  # fmt: skip
        return numbers

    def random_words(self, count: int, key: RandomKey, *, begin: int = 0) -> NDArray[np.uint32]:
        """What ``onnxbf.philox.random_words`` gives."""
        words = np.empty(count, np.uint32)
        _load(_expected_path()).onnxbf_random_words(
            self.handle, key, words.ctypes.data, begin, begin + count
        )
        return words


def kernels(name: str | None = None) -> Kernels:
    """The kernels of an instruction set; of the one in use where no name is given.

    Raises:
        KernelError: this CPU lacks it, or as ``library_path`` does.
    """
    library = _load(_expected_path())
    chosen = name or library.onnxbf_instruction_set().decode()
    handle = library.onnxbf_find_kernels(chosen.encode())
    if handle is None:
        raise KernelError(
            f"{chosen!r} is no instruction set of this CPU: choose one of "
            f"{', '.join(_names(library))}."
        )
    return Kernels(chosen, handle)


def cpu_codes(
    source: NDArray[np.float32], fmt: NumberFormat, rounding: Rounding
) -> NDArray[np.uint16] | None:
    """The codes that the CPU's own instruction gives; None where it has none for this.

    Args:
        source: contiguous, a multiple of 16 numbers.
        fmt: bfloat16, with rne (VCVTNEPS2BF16, which flushes subnormal numbers), or float16, with
            rne, rtz, rup and rdn (VCVTPS2PH).
    """
    library = _load(_expected_path())
    convert = {BFLOAT16: library.onnxbf_cpu_bfloat16, FLOAT16: library.onnxbf_cpu_float16}[fmt]
    if source.size % 16:
        raise ValueError(f"{source.size} numbers are no multiple of 16")
    codes = np.empty(source.shape, np.uint16)
    mode = list(Rounding).index(rounding)
    converted = convert(source.ctypes.data, codes.ctypes.data, source.size, mode)
    return codes if converted else None

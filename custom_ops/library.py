"""Loading the kernel library, and its C functions (csrc/c_api.h), declared again for ctypes.

``onnxbf.custom_ops.kernels`` gives them types.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import sysconfig
from pathlib import Path
from typing import Any

from onnxbf.errors import KernelError

INSTRUCTION_SET_VARIABLE = "ONNXBF_INSTRUCTION_SET"
_FOLDER = Path(__file__).resolve().parent  # once: it takes longer than rounding a small array
_INTERFACE = 25  # kInterface in csrc/c_api.h
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


class RangeSpec(ctypes.Structure):
    """``onnxbf::RangeSpec`` of csrc/range.h."""

    _fields_ = tuple(
        (name, ctypes.c_int32) for name in ("bits", "grouping", "exact_zero", "stochastic")
    )


class BlockSpec(ctypes.Structure):
    """``onnxbf::BlockSpec`` of csrc/block.h."""

    _fields_ = tuple(
        (name, ctypes.c_int32)
        for name in ("exponent_bits", "mantissa_bits", "specials", "rounding", "block")
    )


class ScaledSpec(ctypes.Structure):
    """``onnxbf::ScaledSpec`` of csrc/scaled.h."""

    _fields_ = (
        ("cast", CastSpec),
        *((name, ctypes.c_int32) for name in ("history", "most_recent", "margin", "power_of_two")),
    )


_SPEC, _KEY, _DATA = ctypes.POINTER(CastSpec), ctypes.POINTER(RandomKey), ctypes.c_void_p
_INDEX, _INT, _TEXT = ctypes.c_int64, ctypes.c_int32, ctypes.c_char_p
_LIST = ctypes.c_void_p  # of pointers, or of int64

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
    "onnxbf_observe_rounding": (
        None, _DATA, _SPEC, _KEY, _DATA, _DATA, _INDEX, _INDEX, _INT, _DATA,
    ),
    "onnxbf_observe_update": (None, _DATA, _SPEC, _DATA, _DATA, _DATA, _INDEX, _INT, _DATA),
    "onnxbf_random_words": (None, _DATA, _KEY, _DATA, _INDEX, _INDEX),
    "onnxbf_arithmetic_problem": (_TEXT, _TEXT),
    "onnxbf_matmul": (
        None, _DATA, _TEXT, _DATA, _DATA, _DATA, _INDEX, _INDEX, _INDEX, _KEY, _INT,
    ),
    "onnxbf_sum": (None, _DATA, _TEXT, _DATA, _DATA, _INDEX, _INDEX, _INDEX, _KEY, _INT),
    "onnxbf_exponentials": (None, _DATA, _DATA, _DATA, _INDEX, _INT),
    "onnxbf_program_problem": (_TEXT, _TEXT),
    "onnxbf_elementwise": (None, _DATA, _TEXT, _LIST, _LIST, _LIST, _LIST, _INDEX, _INT),
    "onnxbf_quantize_range": (
        None, _DATA, ctypes.POINTER(RangeSpec), _KEY, _DATA, _DATA, _INDEX, _INDEX, _INT,
    ),
    "onnxbf_quantize_blocks": (
        None, _DATA, ctypes.POINTER(BlockSpec), _KEY, _DATA, _DATA, _INDEX, _INDEX, _INDEX, _INT,
    ),
    "onnxbf_quantize_scaled": (
        None, _DATA, ctypes.POINTER(ScaledSpec), _KEY, _DATA, _DATA, _INDEX, _DATA, _DATA, _INT,
    ),
    "onnxbf_cpu_codes": (_INT, _SPEC, _DATA, _DATA, _INDEX),
    "onnxbf_cpu_dots": (_INT, _TEXT, _DATA, _DATA, _DATA, _INDEX, _INDEX),
}  # fmt: skip


def library_path() -> Path:
    """Where the kernel library lies, once it is known to load.

    Raises:
        KernelError: it is absent, was built for another platform or another version of onnxbf, or
            ONNXBF_INSTRUCTION_SET names an instruction set that this CPU lacks.
    """
    load()
    return _expected_path()


def instruction_sets() -> tuple[str, ...]:
    """The instruction sets of this CPU that have kernels, best last."""
    return _texts(load().onnxbf_instruction_set_name)


def kernel_names() -> tuple[str, ...]:
    """All kernels that every instruction set has (csrc/kernels.inc)."""
    return _texts(load().onnxbf_kernel_name)


def load() -> ctypes.CDLL:
    """The library, with its functions declared; raises as ``library_path`` does."""
    return _load(_expected_path())


def _expected_path() -> Path:
    suffix = ".dylib" if sys.platform == "darwin" else ".so"
    return _FOLDER / f"libonnxbf{suffix}"


@functools.cache
def _load(path: Path) -> ctypes.CDLL:
    if not path.is_file():
        raise KernelError(f"The kernel library {path} is missing. {_REBUILD}")
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        here = sysconfig.get_platform()
        raise KernelError(
            f"The kernel library {path} was not built for this machine ({here}). {_REBUILD}"
        ) from error
    for name, (result, *arguments) in _DECLARATIONS.items():
        function = getattr(library, name, None)
        if function is None:
            raise KernelError(f"The kernel library {path} lacks {name}. {_REBUILD}")
        function.restype, function.argtypes = result, arguments
    if library.onnxbf_interface() != _INTERFACE:
        raise KernelError(f"The kernel library {path} is of another version. {_REBUILD}")
    wanted = os.environ.get(INSTRUCTION_SET_VARIABLE)
    if wanted and library.onnxbf_find_kernels(wanted.encode()) is None:
        present = _texts(library.onnxbf_instruction_set_name)
        raise KernelError(
            f"{INSTRUCTION_SET_VARIABLE}={wanted} names no instruction set of this CPU: choose one "
            f"of {', '.join(present)}, or unset it."
        )
    return library


def _texts(getter: Any) -> tuple[str, ...]:
    found: list[str] = []
    while (text := getter(len(found))) is not None:
        found.append(text.decode())
    return tuple(found)

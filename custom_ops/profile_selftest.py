"""The self-test of one arithmetic profile: its kernels against its definition, on this machine.

Every instruction set multiplies the same matrices and sums the same numbers; ``onnxbf.dot``, in
exact fractions, says what each element should be. Where the profile is an instruction of some CPUs,
and this CPU has it, the instruction judges, too.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from onnxbf.arithmetic import Arithmetic, Step
from onnxbf.custom_ops import library
from onnxbf.custom_ops.cpu_instructions import cpu_dots
from onnxbf.custom_ops.kernels import Kernels, kernels
from onnxbf.custom_ops.library import RandomKey
from onnxbf.custom_ops.numpy_api import all_threads
from onnxbf.custom_ops.reference_products import product
from onnxbf.custom_ops.reference_sums import sums
from onnxbf.custom_ops.selftest import Check
from onnxbf.custom_ops.tally import Tally, bits

Floats = NDArray[np.float32]
Make = Callable[[np.random.Generator, tuple[int, int]], Floats]

SHAPES = (  # rows, inner, columns: whole tiles, parts of tiles, single elements
    (1, 1, 1), (5, 2, 3), (3, 7, 4), (2, 68, 2), (13, 9, 33), (12, 3, 32), (1, 40, 17),
)  # fmt: skip
EMPTY = ((2, 0, 3), (0, 4, 3), (3, 4, 0), (0, 0, 0))
SUMMED = ((5, 9), (0, 3), (37, 41))
WHOLE = ((130, 65, 70), (13, 1100, 33), (1, 40, 100), (100, 40, 1))
_KEY = {"seed": 0x9E3779B97F4A7C15, "node": 0xC0FFEE, "step": 7}
ON_CPU = {  # the profiles that are instructions
    "avx512_bf16": "VDPBF16PS",
    "amx_bf16": "TDPBF16PS",
    "arm_bf16": "BFDOT",
    "arm_ebf16": "BFDOT with FPCR.EBF",
}
BY_INSTRUCTION = {Step.ODD_FIRST: "avx512_bf16", Step.EVEN_ODD: "avx512_amx"}  # kernels with it,
EMULATED = "avx512"  # and without
CPU_ROWS = 1024  # of a round; it compares CPU_ROWS**2 sums
CPU_PRODUCTS = 8  # of such a sum, behind a whole chunk where there are chunks
CPU_ROUNDS = 96  # 1e8 sums

_SPECIAL = np.array(
    [
        0x00000000, 0x80000000, 0x00000001, 0x807FFFFF, 0x00800000, 0x80810000, 0x3F800000,
        0xBF810000, 0x7F7F0000, 0xFF7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC50000,
        0x7F810000, 0x007F8000,
    ],
    np.uint32,
).view(np.float32)  # fmt: skip


def ordinary(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    return rng.standard_normal(shape).astype(np.float32)


def _scaled(least: int, most: int) -> Make:
    def make(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
        return np.ldexp(ordinary(rng, shape), rng.integers(least, most, shape))

    return make


def _ties(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    return np.rint(ordinary(rng, shape) * 4)


def _any_bits(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    return rng.integers(0, 2**32, shape, dtype=np.uint32).view(np.float32)


def _special(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    return np.where(rng.random(shape) < 0.3, rng.choice(_SPECIAL, shape), ordinary(rng, shape))


NUMBERS: dict[str, Make] = {
    "ordinary numbers": ordinary,
    "small integers, whose sums end halfway": _ties,
    "numbers of many magnitudes": _scaled(-12, 12),
    "products about the smallest number": _scaled(-70, -55),
    "products about the largest number": _scaled(50, 66),
    "zeros, infinities, NaN, subnormals": _special,
    "any bits": _any_bits,
}


def run_profile_checks(
    profile: Arithmetic, *, quick: bool = False, threads: int | None = None
) -> Iterator[Check]:
    """Check the kernels of ``profile``, one kind of operands after the other.

    Args:
        quick: a few seconds' worth, of fewer matrices.
        threads: up to how many to compare with one; 3 at least.

    Raises:
        KernelError: the kernel library is missing or unusable.
        UnsupportedError: a profile that the kernels do not have.
    """
    sets = [kernels(name) for name in library.instruction_sets()]
    where = ", ".join(each.name for each in sets)
    most = max(threads or all_threads(), 3)
    plans: list[tuple[str, Callable[[], Tally], str]] = [
        *(
            (name, partial(_against_dot, profile, make, sets, quick), where)
            for name, make in NUMBERS.items()
        ),
        (
            "special numbers in every position",
            partial(_every_position, profile, sets, quick),
            where,
        ),
        ("no products, no sums", partial(_empty, profile, sets), where),
        (
            f"sums of numbers, 1 to {most} threads",
            partial(_sums, profile, sets, quick, most),
            where,
        ),
        (
            f"large matrices, 1 to {most} threads",
            partial(_threads, profile, sets, most),
            where,
        ),
    ]
    if instruction := ON_CPU.get(profile.name):
        probe = np.zeros((16, 2), np.uint16)
        present = cpu_dots(profile, probe, probe) is not None
        detail = where if present else f"this CPU has no {instruction}"
        judge = partial(_against_cpu, profile, sets, 2 if quick else CPU_ROUNDS)
        plans.append((f"against {instruction}", judge if present else Tally, detail))
    if native := BY_INSTRUCTION.get(profile.step):
        present = native in library.instruction_sets()
        detail = f"{native}, {EMULATED}" if present else f"this CPU has no {native}"
        both = partial(_both_ways, profile, native, 7 if quick else 70)
        plans.append(("the instruction and its emulation", both if present else Tally, detail))
    for name, check, detail in plans:
        start = time.perf_counter()
        tally = check()
        seconds = time.perf_counter() - start
        yield Check(name, tally.cases, tally.mismatches, seconds, tally.example or detail)


def _compare(tally: Tally, label: str, got: Floats, wanted: Floats) -> None:
    """By place: the example names the element, counted row by row."""
    places = np.arange(wanted.size, dtype=np.uint32).reshape(wanted.shape)
    tally.compare(label, places, got, wanted)


def _multiply(
    tally: Tally, profile: Arithmetic, sets: Sequence[Kernels], a: Floats, b: Floats, wanted: Floats
) -> None:
    shape = f"{a.shape[0]}x{a.shape[1]} by {b.shape[0]}x{b.shape[1]}"
    for used in sets:
        label = f"element of {shape} on {used.name}"
        _compare(tally, label, used.matmul(a, b, profile, key=RandomKey(**_KEY)), wanted)


def _against_dot(profile: Arithmetic, make: Make, sets: Sequence[Kernels], quick: bool) -> Tally:
    tally, rng = Tally(), np.random.default_rng(0)
    for _ in range(1 if quick else 10):
        for rows, inner, columns in SHAPES:
            a, b = make(rng, (rows, inner)), make(rng, (inner, columns))
            _multiply(tally, profile, sets, a, b, product(profile, a, b, **_KEY))
    return tally


def _every_position(profile: Arithmetic, sets: Sequence[Kernels], quick: bool) -> Tally:
    """Each special number meets each other, at every place of sums of several lengths."""
    tally, rng = Tally(), np.random.default_rng(1)
    for inner in (3,) if quick else (1, 2, 3, 4, 5, 9):
        for place in range(inner):
            a, b = ordinary(rng, (len(_SPECIAL), inner)), ordinary(rng, (inner, len(_SPECIAL)))
            a[:, place], b[place] = _SPECIAL, _SPECIAL
            _multiply(tally, profile, sets, a, b, product(profile, a, b, **_KEY))
    return tally


def _empty(profile: Arithmetic, sets: Sequence[Kernels]) -> Tally:
    """A sum of no products is +0. Shapes without elements count as one case each."""
    tally = Tally()
    for rows, inner, columns in EMPTY:
        a, b = np.ones((rows, inner), np.float32), np.ones((inner, columns), np.float32)
        wanted = np.zeros((rows, columns), np.float32)
        _multiply(tally, profile, sets, a, b, wanted)
        tally.cases += len(sets) * (not wanted.size)
    return tally


def _sums(profile: Arithmetic, sets: Sequence[Kernels], quick: bool, most: int) -> Tally:
    """Along rows and along columns, numbers of all kinds; sums of no numbers, too."""
    tally, rng = Tally(), np.random.default_rng(5)
    for make in NUMBERS.values():
        for shape in SUMMED[: 2 if quick else None]:
            x = make(rng, shape)
            for axis in (0, 1):
                wanted = sums(profile, x, [axis], **_KEY).squeeze(axis)
                for used, threads in itertools.product(sets, range(1, most + 1)):
                    label = f"sum along axis {axis} of {shape[0]}x{shape[1]} on {used.name}"
                    key = RandomKey(**_KEY)
                    got = used.sums(x, profile, axis, key=key, threads=threads)
                    _compare(tally, f"{label}, {threads} threads", got, wanted)
    return tally


def _threads(profile: Arithmetic, sets: Sequence[Kernels], most: int) -> Tally:
    """All sets and numbers of threads agree, and some elements are what they are alone."""
    tally, rng = Tally(), np.random.default_rng(2)
    for rows, inner, columns in WHOLE:
        a, b = (_scaled(-12, 12)(rng, shape) for shape in ((rows, inner), (inner, columns)))
        key = RandomKey(**_KEY)
        best = sets[-1].matmul(a, b, profile, key=key)
        for used in sets[1:] or sets:
            for threads in range(1, most + 1):
                label = f"element of {rows}x{columns} on {used.name}, {threads} threads"
                _compare(tally, label, used.matmul(a, b, profile, key=key, threads=threads), best)
        for row, column in zip(rng.integers(0, rows, 4), rng.integers(0, columns, 4)):
            first = int(row * columns + column)
            alone = product(
                profile, a[row : row + 1], b[:, column : column + 1], **_KEY, first=first
            )
            label = f"element ({row}, {column}) of {rows}x{columns}"
            _compare(tally, label, best[row : row + 1, column : column + 1], alone)
    return tally


def _against_cpu(profile: Arithmetic, sets: Sequence[Kernels], rounds: int) -> Tally:
    """Sums of bfloat16 numbers of all kinds, NaN with payload."""
    tally, rng, makes = Tally(), np.random.default_rng(3), list(NUMBERS.values())
    size = (CPU_ROWS, profile.chunk + CPU_PRODUCTS)
    for round_ in range(rounds):
        make = makes[round_ % len(makes)]
        codes = [(bits(make(rng, size)) >> 16).astype(np.uint16) for _ in "ab"]
        a, b = ((side.astype(np.uint32) << 16).view(np.float32) for side in codes)
        left = np.repeat(codes[0], CPU_ROWS, axis=0)
        wanted = cpu_dots(profile, left, np.tile(codes[1], (CPU_ROWS, 1)))
        assert wanted is not None
        for used in sets[1:] or sets:  # the scalar kernels are slow, and judged above
            got = used.matmul(a, np.ascontiguousarray(b.T), profile, threads=all_threads())
            _compare(tally, f"element on {used.name}", got, wanted.reshape(CPU_ROWS, CPU_ROWS))
    return tally


def _both_ways(profile: Arithmetic, native: str, rounds: int) -> Tally:
    """The kernels that use the instruction and those that emulate it, on matrices of all kinds."""
    tally, rng, makes = Tally(), np.random.default_rng(4), list(NUMBERS.values())
    for round_ in range(rounds):
        make, inner = makes[round_ % len(makes)], int(rng.integers(1, 2100))
        a, b = make(rng, (130, inner)), make(rng, (inner, 170))
        emulated = kernels(EMULATED).matmul(a, b, profile)
        got = kernels(native).matmul(a, b, profile, threads=2)
        _compare(tally, f"element of 130x{inner}x170", got, emulated)
    return tally

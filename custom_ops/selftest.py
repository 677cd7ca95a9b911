"""The self-test: every kernel, on every instruction set of this CPU, against its judges.

The judges share no code with the kernels: ``onnxbf.rounding``, ``onnxbf.encoding`` and
``onnxbf.philox`` (NumPy), and the CPU's own conversions where it has them.
"""

from __future__ import annotations

import itertools
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from onnxbf.custom_ops import elementwise, library, observation, probes, sweeps
from onnxbf.custom_ops.cpu_instructions import cpu_codes
from onnxbf.custom_ops.kernels import Kernels, kernels
from onnxbf.custom_ops.library import RandomKey
from onnxbf.custom_ops.numpy_api import all_threads
from onnxbf.custom_ops.specs import round_kernel
from onnxbf.custom_ops.tally import Tally
from onnxbf.encoding import code_type, decode, encode
from onnxbf.formats import (
    BFLOAT16,
    FLOAT16,
    FORMATS,
    Cast,
    NumberFormat,
    Overflow,
    Rounding,
    Specials,
    Subnormals,
    parse_format,
)
from onnxbf.philox import random_words
from onnxbf.rounding import round_array

MORE_FORMATS = ("e8m1", "e8m16", "e7m23", "e7m1", "e6m9", "e5m7", "e4m15", "e2m1")
_OF_CPU = [Rounding(mode) for mode in ("rne", "rtz", "rup", "rdn")]
_X86 = {
    Cast(BFLOAT16, subnormals=Subnormals.FLUSH): "VCVTNEPS2BF16",
    **{Cast(FLOAT16, mode): "VCVTPS2PH" for mode in _OF_CPU},
}
_ARM = {
    **{Cast(BFLOAT16, *choice): "BFCVTN" for choice in itertools.product(_OF_CPU, Subnormals)},
    **{Cast(FLOAT16, mode): "FCVTN" for mode in _OF_CPU},
}
CPU_INSTRUCTIONS = _ARM if platform.machine() in ("aarch64", "arm64") else _X86
_KEY = {"seed": 0x9E3779B97F4A7C15, "node": 0xC0FFEE, "step": 7}


@dataclass(frozen=True, slots=True)
class Check:
    """What became of one check: nothing was compared where ``cases`` is 0 (``detail`` says why)."""

    name: str
    cases: int
    mismatches: int
    seconds: float
    detail: str

    @property
    def passed(self) -> bool:
        return self.mismatches == 0


def run_checks(*, quick: bool = False, threads: int | None = None) -> Iterator[Check]:
    """Run the self-test, one check after the other.

    Args:
        quick: a few seconds' worth, of fewer patterns.

    Raises:
        KernelError: the kernel library is missing or unusable.
    """
    threads = threads or all_threads()
    sets = [kernels(name) for name in library.instruction_sets()]
    checks = [
        *_kernel_checks(sets, threads, quick),
        *_sweep_checks(sets, threads, quick),
    ]
    for name, check, detail in checks:
        start = time.perf_counter()
        tally = check()
        seconds = time.perf_counter() - start
        yield Check(name, tally.cases, tally.mismatches, seconds, tally.example or detail)


_Plan = tuple[str, Callable[[], Tally], str]  # name, check, detail of a check that passes


def _kernel_checks(sets: Sequence[Kernels], threads: int, quick: bool) -> Iterator[_Plan]:
    """One for each line of csrc/kernels.inc, on all instruction sets."""
    where = ", ".join(each.name for each in sets)
    for name in library.kernel_names():
        kind, _, width = name.partition("_")
        if kind == "round":
            casts = [cast for cast in all_casts() if round_kernel(cast) == name]
            yield name, partial(_rounding, casts, sets, threads, quick), where
        elif kind == "random":
            yield name, partial(_random, sets), where
        elif kind == "step":
            yield name, partial(_step, width, sets), where
        elif kind == "measure":
            yield name, partial(_MEASURES[width], sets), where
        else:
            formats = [fmt for fmt in stored_formats() if code_type(fmt) == _CODE_TYPES[width]]
            yield name, partial(_CODE_CHECKS[kind], formats, sets), where


def _sweep_checks(sets: Sequence[Kernels], threads: int, quick: bool) -> Iterator[_Plan]:
    """Those over all 2^32 patterns; ``quick``: over one block of 64."""
    rows = range(0, 2**16, sweeps.ROWS * (64 if quick else 1))
    where = ", ".join(each.name for each in sets)
    amount = "a 64th of all 2^32 patterns" if quick else "all 2^32 patterns"
    cast = Cast(BFLOAT16)
    check = partial(sweeps.against_oracle, cast, sets, rows, threads)
    yield f"{cast}, {amount}", check, where
    for cast, instruction in CPU_INSTRUCTIONS.items():
        check = partial(sweeps.against_cpu, cast, sets[-1:], rows, threads)
        name = f"{cast} against {instruction}, {amount}"
        if cpu_codes(np.zeros(16, np.float32), cast) is None:
            yield name, Tally, "this CPU has no such instruction"
        else:
            yield name, check, sets[-1].name


def all_formats() -> list[NumberFormat]:
    """Every named format, and others at the ends of what ``eXmY`` may be."""
    return [*FORMATS.values(), *map(parse_format, MORE_FORMATS)]


def all_casts() -> list[Cast]:
    """Every way to round to ``all_formats``, few random bits among them."""
    choices = itertools.product(all_formats(), Rounding, Subnormals, Overflow)
    casts = [Cast(*choice) for choice in choices]
    few = [Cast(fmt, Rounding.STOCHASTIC, random_bits=bits) for fmt, bits in
           itertools.product(all_formats(), (1, 8, 23))]  # fmt: skip
    return casts + few


def stored_formats() -> list[NumberFormat]:
    """The formats whose numbers the kernels store as codes."""
    return [fmt for fmt in all_formats() if fmt.bits <= 16 and fmt.specials is not Specials.NONE]


def _rounding(casts: Sequence[Cast], sets: Sequence[Kernels], threads: int, quick: bool) -> Tally:
    lower_halves = (0x8000,) if quick else (0, 1, 0x7FFF, 0x8000, 0xFFFF)
    patterns = np.concatenate([probes.specials(), probes.upper_halves(*lower_halves)])

    def check(cast: Cast) -> Tally:
        some = quick and cast.format.bits > 8
        near = probes.boundaries(cast.format)[:: 17 if some else 1]
        values = np.concatenate([patterns, near])
        wanted = round_array(values, cast, random_words(values.size, **_KEY))
        tally, rounded = Tally(), np.empty_like(values)
        for each in sets:
            each.quantize_dequantize(values, rounded, cast, RandomKey(**_KEY))
            tally.compare(f"{cast} on {each.name}", values, rounded, wanted)
        return tally

    with ThreadPoolExecutor(threads) as pool:
        return Tally().include(pool.map(check, casts))


def _encoding(formats: Sequence[NumberFormat], sets: Sequence[Kernels]) -> Tally:
    tally, key = Tally(), RandomKey()
    for fmt in formats:
        values = np.concatenate([probes.specials(), probes.boundaries(fmt)])
        wanted = encode(round_array(values, Cast(fmt)), fmt)
        for each in sets:
            codes = each.quantize(values, Cast(fmt), key)
            tally.compare(f"{fmt} on {each.name}", values, codes, wanted)
    return tally


def _decoding(formats: Sequence[NumberFormat], sets: Sequence[Kernels]) -> Tally:
    """NaNs keep what their codes hold of them: so they are compared with where they came from."""
    tally, key = Tally(), RandomKey()
    for fmt in formats:
        codes = np.arange(2**fmt.bits).astype(code_type(fmt))
        numbers = decode(codes, fmt)
        nans = probes.specials()
        nans = round_array(nans[np.isnan(nans)], Cast(fmt))
        for each in sets:
            got = each.dequantize(codes, fmt)
            got[np.isnan(numbers) & np.isnan(got)] = np.nan
            wanted = np.where(np.isnan(numbers), np.float32(np.nan), numbers)
            tally.compare(f"{fmt} on {each.name}", codes, got, wanted)
            nan_codes = each.quantize(nans, Cast(fmt), key)
            back = each.dequantize(nan_codes, fmt)
            tally.compare(f"NaNs of {fmt} on {each.name}", nan_codes, back, nans)
    return tally


def _random(sets: Sequence[Kernels]) -> Tally:
    """At the first elements, across a carry into the second word of the counter, and far out."""
    tally, count = Tally(), 1000
    for begin in (0, 1, 63, 2**34 - 500, 2**62 + 77):
        elements = np.arange(begin, begin + count, dtype=np.uint64)
        wanted = random_words(count, **_KEY, offset=begin)
        for each in sets:
            words = each.random_words(count, RandomKey(**_KEY), begin=begin)
            tally.compare(f"element on {each.name}", elements, words, wanted)
    return tally


def _measuring_rounding(sets: Sequence[Kernels]) -> Tally:
    """Numbers of all magnitudes, the special ones spread among them; the last tile is short."""
    tally, rng = Tally(), np.random.default_rng(0)
    for cast in map(Cast, all_formats()):
        values = rng.permutation(np.concatenate([probes.specials(), probes.upper_halves(0x8000)]))
        wanted = observation.observe_rounding(values, round_array(values, cast), cast)
        for each in sets:
            got = each.observe_rounding(values, np.empty_like(values), cast, RandomKey())
            tally.compare(f"field of {cast} on {each.name}", np.arange(got.size), got, wanted)
    return tally


def _measuring_update(sets: Sequence[Kernels]) -> Tally:
    """Updates of all magnitudes, applied to weights near one."""
    tally, rng = Tally(), np.random.default_rng(0)
    update = rng.permutation(np.concatenate([probes.specials(), probes.upper_halves(0x8000)]))
    before = rng.uniform(0.5, 2, update.size).astype(np.float32)
    with np.errstate(all="ignore"):
        after = before - update
    for cast in map(Cast, all_formats()):
        wanted = observation.observe_update(update, before, after, cast)
        for each in sets:
            got = each.observe_update(update, before, after, cast)
            tally.compare(f"field of {cast} on {each.name}", np.arange(got.size), got, wanted)
    return tally


def _step(operation: str, sets: Sequence[Kernels]) -> Tally:
    """Special numbers with each other, and others of all magnitudes; all NaNs count as one."""
    tally, rng, special = Tally(), np.random.default_rng(0), probes.specials()
    others = probes.upper_halves(0, 0x8000)
    left = np.concatenate([np.repeat(special, special.size), rng.permutation(others)])
    right = np.concatenate([np.tile(special, special.size), rng.permutation(others)])
    count = elementwise.OPERANDS[operation]
    for operands in {("x0", "x1")[:count], ("x0", "s0")[:count], ("s0", "x0")[-count:]}:
        program = elementwise.Program((elementwise.Step(operation, "y0", operands),))
        given = (left, right)[: program.count("x")]
        for number in special if "s0" in operands else special[:1]:
            shared = (np.array(number),)[: program.count("s")]
            (wanted,) = program.run(given, shared)
            for each in sets:
                (got,) = each.elementwise(program, given, shared)
                got[np.isnan(got)] = wanted[np.isnan(wanted)] = np.nan
                tally.compare(f"{program} on {each.name}", left, got, wanted)
    return tally


_MEASURES = {"rounding": _measuring_rounding, "update": _measuring_update}
_CODE_TYPES = {"u8": np.uint8, "u16": np.uint16}
_CODE_CHECKS = {"encode": _encoding, "decode": _decoding}

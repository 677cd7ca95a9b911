"""Arithmetic profiles: what a multiplier-accumulator does, as data.

A number format says what is stored; a profile says how a dot product is summed: what the operands
are rounded to, the order of the products, the format of the accumulator, what becomes of tiny
numbers, the format of the result. Each prints to the text that makes it:
``str(parse_arithmetic("chunked{size=64,inner=fp32,outer=bf16}"))``. What the fields mean, step by
step, stands in ``onnxbf.dot``.

Sources: Intel SDM, VDPBF16PS and TDPBF16PS; Arm ARM, BFDOT and FPCR.EBF; Higham, Accuracy and
Stability of Numerical Algorithms, 4.2 and 4.3 (pairwise and compensated summation). Tensor cores:
Fasi, Higham, Mikaitis and Pranesh, "Numerical behavior of NVIDIA tensor cores", PeerJ Computer
Science 7:e330, 2021 (Volta, Ampere); Khattak and Mikaitis, "Accurate models of NVIDIA tensor
cores", arXiv 2512.07004, 2025, and MMA-Sim (Hopper); DeepSeek-V3, arXiv 2412.19437, 3.3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from onnxbf.errors import NameUnknown, OptionUnknown, SpecError, UnsupportedError
from onnxbf.formats import (
    BFLOAT16,
    FLOAT8_E4M3FN,
    FLOAT16,
    FLOAT32,
    Cast,
    Overflow,
    Rounding,
    Subnormals,
    parse_cast,
    parse_format,
)
from onnxbf.spec import TextEnum, parse_spec

WIDEST_ROUNDED = 21  # mantissa bits that an FP32 number rounded to odd can still be rounded to
WIDEST_RANDOM = 22  # mantissa and random bits of an accumulator that rounds stochastically
LONGEST_CHUNK = 1 << 20
LONGEST_GROUP = 64
WIDEST_ALIGNED = 25
LARGEST_ALIGNED = 29  # of log2(group) + bits: the sums of the kernels hold no more
WIDEST_FACTOR = 10  # mantissa bits of the operands of an aligned sum: a product then has 22 at most
FP32 = Cast(FLOAT32)


class Step(TextEnum):
    """How products enter the accumulator."""

    FMA = "fma"  # one after the other, one rounding for each
    ODD_FIRST = "odd_first"  # the same, but of each two neighbours the second comes first
    EVEN_ODD = "even_odd"  # even and odd ones into accumulators of their own, which are then added
    PAIR = "pair"  # two products, rounded; their sum, rounded; added to the accumulator
    FUSED_PAIR = "fused_pair"  # the exact sum of two products, rounded; added to the accumulator
    PAIRWISE = "pairwise"  # rounded products added by twos, their sums by twos, and so on
    KAHAN = "kahan"  # rounded products, with a running compensation
    EXACT = "exact"  # one rounding, of the exact sum
    ALIGNED = (
        "aligned"  # a group of products and the accumulator, cut off below a common last place
    )


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """How a dot product is computed.

    Attributes:
        name: the text of the profile.
        operands: what both operands are rounded to; None takes float32 as it is.
        accumulator: the cast after each step.
        flush: numbers below the smallest normal are zero where they are read and where they are
            written, judged after rounding (as x86 does with DAZ and FTZ).
        chunk: products that are summed for themselves, from +0; 0 sums all at once.
        long_chunk: the same where there are more than 1024 products; 0 is ``chunk``, too.
        outer: the cast after each addition of a chunk's sum to the sum of chunks.
        result: what the sum is rounded to in the end.
        group: of ALIGNED, products that are added to the accumulator at a time.
        bits: of ALIGNED, places below the largest exponent of a group that count.
    """

    name: str
    summary: str
    step: Step = Step.FMA
    accumulator: Cast = FP32
    operands: Cast | None = None
    flush: bool = False
    chunk: int = 0
    long_chunk: int = 0
    outer: Cast = FP32
    result: Cast | None = None
    group: int = 0
    bits: int = 0

    def chunk_of(self, count: int) -> int:
        """Products in a chunk of a sum of ``count``; at least 1."""
        wanted = self.long_chunk if self.long_chunk and count > 1024 else self.chunk
        return max(wanted or count, 1)

    def roundings_of(self, count: int) -> int:
        """How many random words a sum of ``count`` products takes: one each, and one a chunk."""
        return count + (-(-count // self.chunk_of(count)) if self.chunk else 0)

    @property
    def stochastic(self) -> bool:
        return Rounding.STOCHASTIC in (self.accumulator.rounding, self.outer.rounding)

    def __str__(self) -> str:
        return self.name


_INTEL = Cast(BFLOAT16, subnormals=Subnormals.FLUSH)  # VCVTNEPS2BF16
_CUT_OFF = Cast(FLOAT32, Rounding.TOWARD_ZERO)


def _tensor_core_model(
    name: str, unit: str, group: int, bits: int, operands: Cast, accumulator: Cast = _CUT_OFF
) -> Arithmetic:
    summary = f"a model of {unit}: groups of {group} products, cut off after {bits} places"
    made = Arithmetic(name, summary, Step.ALIGNED, accumulator, operands)
    return replace(made, group=group, bits=bits)


PROFILES: dict[str, Arithmetic] = {
    profile.name: profile
    for profile in (
        Arithmetic("fp32", "FP32 multiply-adds in order; recipes leave it to the runtime's kernel"),
        Arithmetic(
            "avx512_bf16",
            "VDPBF16PS: of two products the odd one first, FP32 multiply-adds, subnormals flushed",
            Step.ODD_FIRST,
            operands=_INTEL,
            flush=True,
        ),
        Arithmetic(
            "amx_bf16",
            "TDPBF16PS: tiles of 32 products, even and odd ones apart, then added",
            Step.EVEN_ODD,
            operands=_INTEL,
            flush=True,
            chunk=32,
        ),
        Arithmetic(
            "arm_bf16",
            "BFDOT of FEAT_BF16: two products at a time, each operation rounded to odd, flushed",
            Step.PAIR,
            Cast(FLOAT32, Rounding.TO_ODD, Subnormals.FLUSH),
            operands=Cast(BFLOAT16),
        ),
        Arithmetic(
            "arm_ebf16",
            "BFDOT of FEAT_EBF16: the exact sum of two products, rounded, then accumulated",
            Step.FUSED_PAIR,
            operands=Cast(BFLOAT16),
        ),
        Arithmetic(
            "torch_cpu_bf16",
            "torch 2.13 on a CPU with avx512_bf16: VDPBF16PS over chunks of 512 or 1024, one BF16",
            Step.ODD_FIRST,
            operands=_INTEL,
            flush=True,
            chunk=512,
            long_chunk=1024,
            result=Cast(BFLOAT16),
        ),
        _tensor_core_model("volta_fp16", "V100's tensor cores", 4, 23, Cast(FLOAT16)),
        _tensor_core_model("ampere_bf16", "A100's tensor cores", 8, 24, Cast(BFLOAT16)),
        _tensor_core_model("hopper_bf16", "H100's tensor cores", 16, 25, Cast(BFLOAT16)),
        _tensor_core_model(
            "hopper_fp8",
            "H100's tensor cores, WGMMA",
            32,
            13,
            Cast(FLOAT8_E4M3FN, overflow=Overflow.SATURATE),
            Cast(parse_format("e8m13"), Rounding.TOWARD_ZERO),
        ),
        Arithmetic("pairwise", "FP32, products added by twos, sums by twos", Step.PAIRWISE),
        Arithmetic("kahan", "FP32 with compensated summation", Step.KAHAN),
        Arithmetic("exact", "the exact sum, rounded once to FP32: a yardstick", Step.EXACT),
    )
}


def parse_arithmetic(text: str) -> Arithmetic:
    """The profile that ``text`` names: one of PROFILES, or one with options.

    ``sequential{format=bf16,rounding=rne,subnormals=keep,overflow=infinity}`` rounds once after
    each multiply-add (``rounding=sr`` with ``bits=N`` random bits);
    ``chunked{size=64,inner=fp32,outer=bf16}`` sums chunks in one format and their sums in another;
    ``tensor_core{group=4,bits=23,operands=fp16,accumulator=fp32:rtz,promote=0}`` adds groups of
    products as tensor cores are modelled to, and where ``promote`` is not 0, the sums of so many
    products in FP32. What is left out has the values shown.

    Raises:
        NameUnknown: an unknown profile, option, format or rounding.
        SpecError: text that cannot be read.
        UnsupportedError: an accumulator that is not offered.
    """
    spec = parse_spec(text)
    if spec.name in PROFILES:
        _known(spec.name, spec.options, ())
        return PROFILES[spec.name]
    if spec.name not in MAKERS:
        raise NameUnknown("arithmetic", spec.name, [*PROFILES, *MAKERS])
    return MAKERS[spec.name](spec.options)


def _sequential(options: Mapping[str, str]) -> Arithmetic:
    casts = ("subnormals", "overflow", "bits")
    _known("sequential", options, ("format", "rounding", *casts))
    rest = ",".join(f"{k}={options[k]}" for k in casts if k in options)
    name = f"{options.get('format', 'bf16')}:{options.get('rounding', 'rne')}"
    cast = _accumulator(f"{name}{{{rest}}}" if rest else name)
    default = Cast(cast.format, cast.rounding)
    shown = [f"format={cast.format}", f"rounding={cast.rounding}"]
    if cast.subnormals is not default.subnormals:
        shown.append(f"subnormals={cast.subnormals}")
    if cast.overflow is not default.overflow:
        shown.append(f"overflow={cast.overflow}")
    if cast.rounding is Rounding.STOCHASTIC:
        shown.append(f"bits={cast.random_bits}")
    summary = "one rounding after each multiply-add"
    return Arithmetic(f"sequential{{{','.join(shown)}}}", summary, accumulator=cast)


def _chunked(options: Mapping[str, str]) -> Arithmetic:
    _known("chunked", options, ("size", "inner", "outer"))
    size = _whole("size of chunked", options.get("size", "64"), 1, LONGEST_CHUNK)
    inner, outer = (_accumulator(options.get(key, cast)) for key, cast in _CHUNKED.items())
    made = Arithmetic("", "sums of chunks in one format, their sum in another", accumulator=inner)
    name = f"chunked{{size={size},inner={_short(inner)},outer={_short(outer)}}}"
    return replace(made, name=name, chunk=size, outer=outer)


def _tensor_core(options: Mapping[str, str]) -> Arithmetic:
    full = {**_TENSOR_CORE, **options}
    _known("tensor_core", options, tuple(_TENSOR_CORE))
    limits = {
        "group": (1, LONGEST_GROUP),
        "bits": (1, WIDEST_ALIGNED),
        "promote": (0, LONGEST_CHUNK),
    }
    group, bits, promote = (
        _whole(f"{key} of tensor_core", full[key], *limits[key]) for key in limits
    )
    if group << bits > 1 << LARGEST_ALIGNED:
        raise UnsupportedError(
            f"tensor_core with group={group} and bits={bits} is not offered: group * 2^bits is at "
            f"most 2^{LARGEST_ALIGNED}."
        )
    operands, accumulator = parse_cast(full["operands"]), parse_cast(full["accumulator"])
    stochastic = operands.rounding is Rounding.STOCHASTIC
    if operands.format.mantissa_bits > WIDEST_FACTOR or stochastic:
        raise UnsupportedError(
            f"The operands {operands} are not offered: tensor_core takes formats of at most "
            f"{WIDEST_FACTOR} mantissa bits, not rounded stochastically."
        )
    if accumulator != _CUT_OFF:
        _check_aligned(accumulator)
    shown = {**full, "group": group, "bits": bits, "promote": promote}
    shown |= {"operands": _short(operands), "accumulator": _short(accumulator)}
    text = ",".join(f"{key}={shown[key]}" for key in _TENSOR_CORE)
    summary = "groups of products and the accumulator, aligned, cut off and added"
    made = Arithmetic(f"tensor_core{{{text}}}", summary, Step.ALIGNED, accumulator, operands)
    return replace(made, group=group, bits=bits, chunk=promote)


def _check_aligned(cast: Cast) -> None:
    stochastic = cast.rounding is Rounding.STOCHASTIC
    if cast.format.mantissa_bits > WIDEST_ROUNDED or stochastic:
        raise UnsupportedError(
            f"The accumulator {cast} is not offered: beside {_CUT_OFF}, those of tensor_core have "
            f"at most {WIDEST_ROUNDED} mantissa bits and do not round stochastically."
        )


def _whole(what: str, text: str, least: int, most: int) -> int:
    if not text.isdecimal() or not least <= int(text) <= most:
        raise SpecError(f"{what} is {text!r}, but must be from {least} to {most}.")
    return int(text)


_CHUNKED = {"inner": "fp32", "outer": "bf16"}
_TENSOR_CORE = {
    "group": "4",
    "bits": "23",
    "operands": "fp16",
    "accumulator": "fp32:rtz",
    "promote": "0",
}
MAKERS: dict[str, Callable[[Mapping[str, str]], Arithmetic]] = {
    "sequential": _sequential,
    "chunked": _chunked,
    "tensor_core": _tensor_core,
}


def _short(cast: Cast) -> str:
    return str(cast.format) if cast == Cast(cast.format) else str(cast)


def _known(name: str, options: Mapping[str, str], known: tuple[str, ...]) -> None:
    for option in options:
        if option not in known:
            raise OptionUnknown(f"arithmetic {name!r}", option, known)


def _accumulator(text: str) -> Cast:
    cast = parse_cast(text)
    if cast != FP32 and cast.format.mantissa_bits > WIDEST_ROUNDED:
        raise UnsupportedError(
            f"The accumulator {cast} is not offered: beside fp32:rne, formats have at most "
            f"{WIDEST_ROUNDED} mantissa bits."
        )
    return cast if cast.rounding is not Rounding.STOCHASTIC else _stochastic(cast)


def _stochastic(cast: Cast) -> Cast:
    """With as many random bits as can be compared with an exact sum, unless fewer are asked for."""
    widest = WIDEST_RANDOM - cast.format.mantissa_bits
    if widest < cast.random_bits < Cast(cast.format).random_bits:
        raise UnsupportedError(
            f"The accumulator {cast} is not offered: {widest} random bits of {cast.format} at most."
        )
    return replace(cast, random_bits=min(cast.random_bits, widest))

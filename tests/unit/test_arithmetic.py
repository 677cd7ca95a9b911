"""Arithmetic profiles: read, printed, refused."""

from __future__ import annotations

import pytest

from onnxbf.arithmetic import PROFILES, Step, parse_arithmetic
from onnxbf.errors import NameUnknown, OnnxbfError, OptionUnknown, SpecError, UnsupportedError
from onnxbf.formats import FLOAT32, Cast, parse_cast

PRINTED = {
    "sequential": "sequential{format=bf16,rounding=rne}",
    "sequential{format=float16}": "sequential{format=fp16,rounding=rne}",
    "sequential{rounding=rtz,subnormals=flush,format=e4m3fn,overflow=saturate}": (
        "sequential{format=e4m3fn,rounding=rtz,subnormals=flush,overflow=saturate}"
    ),
    "chunked": "chunked{size=64,inner=fp32,outer=bf16}",
    "chunked{inner=bf16:rtz{overflow=saturate},size=8,outer=fp32}": (
        "chunked{size=8,inner=bf16:rtz{overflow=saturate},outer=fp32}"
    ),
    "sequential{rounding=sr}": "sequential{format=bf16,rounding=sr,bits=15}",
    "sequential{format=e4m3fn,rounding=sr,bits=8,overflow=saturate}": (
        "sequential{format=e4m3fn,rounding=sr,overflow=saturate,bits=8}"
    ),
    "chunked{inner=fp16:sr,outer=bf16:sr{bits=4}}": (
        "chunked{size=64,inner=fp16:sr{bits=12},outer=bf16:sr{bits=4}}"
    ),
    "tensor_core": "tensor_core{group=4,bits=23,operands=fp16,accumulator=fp32:rtz,promote=0}",
    "tensor_core{bits=13,promote=128,accumulator=e8m13:rtz,operands=e4m3fn{overflow=saturate}}": (
        "tensor_core{group=4,bits=13,operands=e4m3fn:rne{overflow=saturate},"
        "accumulator=e8m13:rtz,promote=128}"
    ),
}
REFUSED = {
    "avx512_bf61": (NameUnknown, "Unknown arithmetic 'avx512_bf61': did you mean 'avx512_bf16'?"),
    "kahan{size=3}": (OptionUnknown, "Arithmetic 'kahan' has no option 'size': it has none."),
    "chunked{sizes=3}": (OptionUnknown, "did you mean 'size'?"),
    "chunked{size=0}": (SpecError, "size of chunked is '0', but must be from 1 to 1048576"),
    "chunked{size=-1}": (SpecError, "size of chunked"),
    "chunked{size=1048577}": (SpecError, "size of chunked"),
    "chunked{outer=bf61}": (NameUnknown, "Unknown number format 'bf61': did you mean 'bf16'?"),
    "tensor_core{group=0}": (SpecError, "group of tensor_core is '0', but must be from 1 to 64"),
    "tensor_core{bits=26}": (SpecError, "bits of tensor_core is '26', but must be from 1 to 25"),
    "tensor_core{promote=x}": (SpecError, "promote of tensor_core is 'x'"),
    "tensor_core{groups=4}": (OptionUnknown, "did you mean 'group'?"),
    "tensor_core{group=32,bits=25}": (UnsupportedError, "group * 2^bits is at most 2^29"),
    "tensor_core{operands=e8m11}": (UnsupportedError, "at most 10 mantissa bits"),
    "tensor_core{operands=fp16:sr}": (UnsupportedError, "not rounded stochastically"),
    "tensor_core{accumulator=fp32}": (UnsupportedError, "beside fp32:rtz"),
    "sequential{format=e8m22}": (UnsupportedError, "at most 21 mantissa bits"),
    "sequential{format=fp32,rounding=rtz}": (UnsupportedError, "beside fp32:rne"),
    "sequential{rounding=sr,bits=16}": (UnsupportedError, "15 random bits of bf16 at most"),
    "sequential{bits=8}": (SpecError, "goes with stochastic rounding"),
    "tensor_core{accumulator=bf16:sr}": (UnsupportedError, "do not round stochastically"),
    "sequential{rounding=up}": (NameUnknown, "Unknown rounding 'up'"),
    "sequential{format": (SpecError, "Cannot read"),
}


@pytest.mark.parametrize("name", PROFILES)
def test_profiles_print_to_what_makes_them(name: str) -> None:
    assert str(PROFILES[name]) == name
    assert parse_arithmetic(name) is PROFILES[name]


@pytest.mark.parametrize("text", PRINTED)
def test_options_print_in_full(text: str) -> None:
    profile = parse_arithmetic(text)
    assert str(profile) == PRINTED[text]
    assert parse_arithmetic(str(profile)) == profile


@pytest.mark.parametrize("text", REFUSED)
def test_refusals(text: str) -> None:
    kind, told = REFUSED[text]
    with pytest.raises(OnnxbfError) as error:
        parse_arithmetic(text)
    assert type(error.value) is kind
    assert told in str(error.value)


def test_options_arrive() -> None:
    profile = parse_arithmetic("chunked{size=8,inner=bf16:rtz,outer=fp16}")
    assert (profile.chunk, profile.outer) == (8, parse_cast("fp16"))
    assert (profile.step, profile.accumulator) == (Step.FMA, parse_cast("bf16:rtz"))
    assert parse_arithmetic("sequential{format=fp32}").accumulator == Cast(FLOAT32)

"""What the kernels do beside rounding a whole array, which tests/unit/test_rounding.py judges."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from onnxbf.custom_ops import probes
from onnxbf.custom_ops.cpu_instructions import cpu_codes
from onnxbf.custom_ops.kernels import Kernels, kernels
from onnxbf.custom_ops.library import RandomKey, kernel_names
from onnxbf.custom_ops.specs import round_kernel, storage_spec
from onnxbf.encoding import code_type, decode, encode
from onnxbf.errors import KernelError, UnsupportedError
from onnxbf.formats import BFLOAT16, Cast, NumberFormat, Rounding, Specials, parse_cast
from onnxbf.philox import random_words
from onnxbf.rounding import round_array
from tests.implementations import KERNELS, Floats, Round, same, same_bits
from tests.other_sets import complete_sets

SETS = [kernels(name) for name in complete_sets()]
STORED = ["bf16", "fp16", "e5m2", "e4m3", "e4m3fn", "e3m4", "e3m4fn", "e6m9", "e8m1", "e2m1fn"]
KEY = RandomKey(11, 22, 33)

each_set = pytest.mark.parametrize("used", SETS, ids=complete_sets())


def _stored(name: str) -> NumberFormat:
    if name == "e2m1fn":
        return NumberFormat(name, 2, 1, Specials.NAN)
    return parse_cast(name).format


def test_every_rounding_kernel_serves_some_cast() -> None:
    casts = [Cast(fmt, mode) for fmt in map(_stored, STORED) for mode in Rounding]
    casts += [Cast(parse_cast("tf32").format)]
    served = {round_kernel(cast) for cast in casts}
    assert served == {name for name in kernel_names() if name.startswith("round_")}


def test_unknown_instruction_sets() -> None:
    with pytest.raises(KernelError, match=r"no instruction set 'mmx'.*scalar"):
        kernels("mmx")


@pytest.mark.parametrize(
    ("fmt", "told"),
    [
        (NumberFormat("e9m3", 9, 3), "exponent_bits must be 2 to 8"),
        (NumberFormat("e1m3", 1, 3), "exponent_bits must be 2 to 8"),
        (NumberFormat("e4m24", 4, 24), "mantissa_bits must be 1 to 23"),
        (NumberFormat("e4m0", 4, 0), "mantissa_bits must be 1 to 23"),
        (NumberFormat("e8m7fn", 8, 7, Specials.NAN), "8 exponent_bits need ieee"),
    ],
)
def test_formats_beyond_float32_are_refused(fmt: NumberFormat, told: str) -> None:
    values = np.ones(3, np.float32)
    with pytest.raises(UnsupportedError, match=told):
        SETS[0].quantize_dequantize(values, values, Cast(fmt), KEY)


@pytest.mark.parametrize("bits", [0, 33, -1])
def test_random_bits_out_of_range_are_refused(bits: int) -> None:
    values = np.ones(3, np.float32)
    with pytest.raises(UnsupportedError, match="random_bits must be 1 to 32"):
        SETS[0].quantize_dequantize(
            values, values, Cast(BFLOAT16, Rounding.STOCHASTIC, random_bits=bits), KEY
        )


@pytest.mark.parametrize(
    ("cast", "told"), [("tf32", "more than 16 bits"), ("e2m1", "no code for NaN")]
)
def test_formats_that_are_not_stored(cast: str, told: str) -> None:
    with pytest.raises(UnsupportedError, match=told):
        storage_spec(parse_cast(cast))


@each_set
@pytest.mark.parametrize("name", STORED)
@pytest.mark.parametrize("mode", ["rne", "rdn", "sr"])
def test_codes(used: Kernels, name: str, mode: str) -> None:
    cast = Cast(_stored(name), Rounding(mode))
    values = np.concatenate([probes.specials(), probes.boundaries(cast.format)[::5]])
    words = random_words(values.size, seed=11, node=22, step=33, offset=3)
    numbers = round_array(values, cast, words)
    codes = used.quantize(values, cast, KEY, begin=3)
    assert codes.dtype == code_type(cast.format)
    assert (codes == encode(numbers, cast.format)).all()
    assert same_bits(used.dequantize(codes, cast.format), numbers)


@each_set
@pytest.mark.parametrize("name", STORED)
def test_every_code_is_understood(used: Kernels, name: str) -> None:
    fmt = _stored(name)
    codes = np.arange(2**fmt.bits).astype(code_type(fmt))
    assert same(used.dequantize(codes, fmt), decode(codes, fmt))


@each_set
@pytest.mark.parametrize("cast", ["bf16", "e5m7:rup", "bf16:sr", "fp16:sr"])
def test_slices_of_any_length_and_place(used: Kernels, cast: str) -> None:
    """Neither too much nor too little is written, wherever a slice begins."""
    rng = np.random.default_rng(1)
    values = rng.standard_normal(400).astype(np.float32)
    words = random_words(values.size, seed=11, node=22, step=33)
    wanted = round_array(values, parse_cast(cast), words)
    ends = [0, 1, 3, 8, 15, 16, 17, 63, 64, 65, 127, 128, 129, 255, 300, 399, 400]
    for begin, end in itertools.combinations(ends, 2):
        target = np.full(values.shape, np.float32(-77))
        part = slice(begin, end)
        used.quantize_dequantize(values[part], target[part], parse_cast(cast), KEY, begin=begin)
        assert same_bits(target[part], wanted[part])
        assert (target[:begin] == -77).all() and (target[end:] == -77).all()


@each_set
@pytest.mark.parametrize(
    "cast", ["fp16:sr", "fp16:sr{bits=16}", "fp16:sr{bits=17}", "e4m10:sr", "e5m7:sr", "e7m9:sr"]
)
@pytest.mark.parametrize("place", [0, 100, 255, 256, 599])
def test_one_small_number_among_large_ones(used: Kernels, cast: str, place: int) -> None:
    """Kernels look for subnormal numbers, and for those that need all of their random words."""
    fmt = parse_cast(cast).format
    values = np.random.default_rng(3).uniform(1, 2, 600).astype(np.float32)
    values[::7] = 0
    small = float(np.float32(fmt.smallest_normal))
    drawn = np.random.default_rng(4).uniform(0.5, 1, 8)
    words = random_words(values.size, seed=11, node=22, step=33)
    for exponent in range(-fmt.mantissa_bits - 18, 2):
        for fraction in drawn:
            values[place] = -small * fraction * 2.0**exponent
            rounded = np.empty_like(values)
            used.quantize_dequantize(values, rounded, parse_cast(cast), KEY)
            assert same_bits(rounded, round_array(values, parse_cast(cast), words))


@each_set
@pytest.mark.parametrize("cast", ["e4m3:sr", "e4m3:sr{bits=20}", "e5m2:sr", "e3m4:sr", "e8m3:sr"])
def test_the_lower_halves_of_random_words_count(used: Kernels, cast: str) -> None:
    """What a number loses and its random word's upper half sum to all ones: the rest decides."""
    fmt, count, rng = parse_cast(cast).format, 3000, np.random.default_rng(5)
    words = random_words(count, seed=11, node=22, step=33)
    lost = (~words & np.uint32(0xFFFF0000)) + rng.integers(8, size=count) * 2**13
    last_place = 1.0 if fmt.exponent_bits == 8 else fmt.smallest_normal / 2**fmt.mantissa_bits
    places = rng.integers(0, 2 ** (fmt.mantissa_bits + 1), count)  # of subnormal numbers, too
    exact = (places + lost / 2.0**32) * float(last_place) * rng.choice([-1, 1], count)
    values = exact.astype(np.float32)
    assert (values == exact).all()
    rounded = np.empty_like(values)
    used.quantize_dequantize(values, rounded, parse_cast(cast), KEY)
    assert same_bits(rounded, round_array(values, parse_cast(cast), words))
    upper = words & np.uint32(0xFFFF0000)
    assert not same_bits(rounded, round_array(values, parse_cast(cast), upper))


@each_set
def test_large_tensors_take_the_path_past_the_cache(used: Kernels) -> None:
    """From 4 million elements on; slices are aligned for it, for whole vectors, or not at all."""
    values = np.random.default_rng(2).standard_normal((4 << 20) + 99).astype(np.float32)
    for cast in map(parse_cast, ("bf16", "e4m3fn", "bf16:sr")):
        wanted = values.copy()
        used.quantize_dequantize(wanted, wanted, cast, KEY)  # in place: through the cache
        space = np.empty(values.size + 12, np.float32)
        for shift in (0, 1, 2, 4, 8, 12):
            target = space[shift : shift + values.size]
            used.quantize_dequantize(values, target, cast, KEY, threads=3)
            assert same_bits(target, wanted)


@each_set
@pytest.mark.parametrize("threads", [1, 2, 3, 7, 1000])
def test_threads_change_nothing(used: Kernels, threads: int) -> None:
    """Here more of them are wanted than are worth their while, and slices differ in length."""
    values = np.random.default_rng(3).standard_normal((1 << 20) + 12345).astype(np.float32)
    cast, begin = parse_cast("e4m3:sr"), 77
    alone, shared = np.empty_like(values), np.empty_like(values)
    used.quantize_dequantize(values, alone, cast, KEY, begin=begin)
    used.quantize_dequantize(values, shared, cast, KEY, begin=begin, threads=threads)
    assert same_bits(alone, shared)
    codes = used.quantize(values, cast, KEY, begin=begin, threads=threads)
    assert same_bits(used.dequantize(codes, cast.format, threads=threads), alone)


@pytest.mark.parametrize("begin", [0, 1, 64, 100, 2**34 - 150, 2**40 + 5])
@each_set
def test_random_words(used: Kernels, begin: int) -> None:
    key = {"seed": 0xFEDCBA9876543210, "node": 2**32 - 1, "step": 5}
    words = used.random_words(300, RandomKey(**key), begin=begin)
    assert (words == random_words(300, **key, offset=begin)).all()


@pytest.mark.parametrize("bits", [32, 16, 3])
@pytest.mark.parametrize("name", ["e4m3fn", "e2m1", "fp16", "e5m15", "e7m22", "e8m3"])
@each_set
def test_random_words_decide_to_the_last_bit(used: Kernels, name: str, bits: int) -> None:
    """Numbers that lose, in units of 2^-32 of the last place, just what their words lack of 2^32.

    Or up to 2^17 units more or less, normal and subnormal ones: so a carry comes from below.
    """
    cast, count, rng = parse_cast(f"{name}:sr{{bits={bits}}}"), 2000, np.random.default_rng(0)
    words = random_words(count, seed=KEY.seed, node=KEY.node, step=KEY.step)
    near = (rng.uniform(-1, 1, count) * 2.0 ** rng.integers(0, 18, count)).astype(np.int64)
    lost = 2.0**32 - (words >> (32 - bits) << (32 - bits)) + near
    normal = 2**cast.format.mantissa_bits  # from here on
    for whole in (0, 1, normal - 1, normal):
        values = np.float32((whole + lost * 2.0**-32) * cast.format.smallest_subnormal)
        values[::2] *= -1
        wanted = round_array(values, cast, words)
        got = np.empty_like(values)
        used.quantize_dequantize(values, got, cast, KEY)
        assert same_bits(got, wanted)
        assert whole or len(np.unique(np.abs(wanted))) == 2


def test_conversions_of_the_cpu_take_whole_vectors() -> None:
    with pytest.raises(ValueError, match="multiple of 16"):
        cpu_codes(np.ones(17, np.float32), Cast(BFLOAT16))


NAMES = ["bf16", "e5m7", "e4m3fn"]


def _rounded(round_: Round, name: str, mode: Rounding) -> Floats:
    values = np.concatenate([probes.specials(), probes.upper_halves(0, 0x8000)])
    return round_(values, Cast(_stored(name), mode))


# Worked out before any test changes the register, on which NumPy's results do depend.
UNDISTURBED = {
    (name, mode): _rounded(KERNELS["c++ scalar"], name, mode) for name in NAMES for mode in Rounding
}
NUMBERS = {name: decode(np.arange(2 ** _stored(name).bits), _stored(name)) for name in NAMES}


@pytest.mark.usefixtures("control_register")
@pytest.mark.parametrize("round_", KERNELS.values(), ids=KERNELS)
@pytest.mark.parametrize("name", NAMES)
def test_the_control_register_does_not_change_rounding(round_: Round, name: str) -> None:
    for mode in Rounding:
        assert same_bits(_rounded(round_, name, mode), UNDISTURBED[name, mode])


@pytest.mark.usefixtures("control_register")
@pytest.mark.parametrize("name", NAMES)
@each_set
def test_the_control_register_does_not_change_numbers(used: Kernels, name: str) -> None:
    fmt = _stored(name)
    codes = np.arange(2**fmt.bits).astype(code_type(fmt))
    assert same(used.dequantize(codes, fmt), NUMBERS[name])

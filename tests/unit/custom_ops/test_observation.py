"""What roundings and updates are observed to do: by hand, in NumPy, in C++, in ONNX Runtime."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from onnxbf.custom_ops import probes
from onnxbf.custom_ops.attributes import cast_attributes
from onnxbf.custom_ops.kernels import Kernels, kernels
from onnxbf.custom_ops.library import RandomKey
from onnxbf.custom_ops.observation import (
    ROUNDING_FIELDS,
    UPDATE_FIELDS,
    observe_rounding,
    observe_update,
)
from onnxbf.custom_ops.registry import DOMAIN
from onnxbf.errors import ModelError
from onnxbf.formats import Cast, parse_cast
from onnxbf.philox import random_words
from onnxbf.rounding import round_array
from onnxbf.session import make_session, run
from tests.implementations import Floats, same_bits
from tests.other_sets import complete_sets
from tests.small_models import Shape, check_in_both, model, value

SETS = [kernels(name) for name in complete_sets()]
KEY = RandomKey(11, 22, 33)
SUMMED = 40 * 2.0**-24  # relative: a square, 32 additions, 5 halvings, of half a unit each
CASTS = ("bf16", "bf16:sr", "fp16:rup", "e4m3fn", "e4m3fn{overflow=saturate}", "e2m1", "e8m23")
OTHERS = (
    "fp16{subnormals=flush}", "bf16{subnormals=flush}", "e5m2:rna", "e5m2:rtz", "e6m9:rdn",
    "e4m3:rto", "e5m2:sr", "fp16:sr{bits=8}", "e8m2:rna", "e8m3:rtz", "e8m5:rup", "e8m5:rdn",
    "e8m4:rto", "e8m10",
)  # fmt: skip

each_set = pytest.mark.parametrize("used", SETS, ids=complete_sets())


def _mixture(count: int) -> Floats:
    """Numbers of ordinary size, every tenth of them a special or a very large or small one."""
    rng = np.random.default_rng(count)
    values = (rng.standard_normal(count) * 10.0 ** rng.uniform(-6, 3, count)).astype(np.float32)
    odd = np.concatenate([probes.specials(), np.float32([1e-42, -1e-42, 3.4e38, -3.4e38])])
    values[::10] = rng.choice(odd, values[::10].size)
    return values


def _ordinary(count: int) -> Floats:
    """Zeros and numbers of one size, another one in each tile: from 1e-44 to 1e38."""
    rng = np.random.default_rng(count)
    sizes = 10.0 ** np.resize([0, -3, 2, -11, -44, 30, 38, -30], -(-count // 1024))
    values = rng.standard_normal(count) * np.repeat(sizes, 1024)[:count]
    return (values.clip(-3e38, 3e38) * (rng.random(count) > 0.3)).astype(np.float32)


def _at_the_ends(cast: Cast, count: int) -> Floats:
    """Tiles of ones, with one number that is almost, or only just, out of a format's range."""
    fmt = cast.format
    ends = np.float32([fmt.max, fmt.smallest_normal, fmt.smallest_subnormal])
    with np.errstate(over="ignore"):
        above = np.nextafter(ends, np.float32(np.inf))
    ends = np.concatenate([np.nextafter(ends, np.float32(0)), ends, above])
    values = np.ones(count, np.float32)
    values[7::1024] = np.resize(np.concatenate([ends, -ends]), values[7::1024].size)
    return values


def _rounded(values: Floats, cast: Cast, offset: int = 0) -> Floats:
    words = random_words(values.size, seed=11, node=22, step=33, offset=offset)
    return round_array(values, cast, words.reshape(values.shape))


HAND = np.float32([70000, -70000, np.inf, np.nan, 65510, 1e-9, -1e-9, 0.0, -0.0, 1e-42, 1.0, 2049])


@pytest.mark.parametrize(
    ("cast", "overflow", "saturated", "underflow", "nan", "signal", "noise"),
    [  # fp16 ends at 65504, its smallest number is 2^-24; 2049 lies halfway between 2048 and 2050
        ("fp16", 2, 1, 3, 1, 65510**2 + 2049**2 + 1, 6**2 + 1),
        ("fp16{overflow=saturate}", 0, 4, 3, 1, 2 * 70000**2 + 65510**2 + 2049**2 + 1,
         2 * 4496**2 + 6**2 + 1),
        # e4m3fn ends at 448, has no infinity, and 2^-9 is its smallest number
        ("e4m3fn", 4, 0, 3, 6, 1, 0),
        ("e8m23", 0, 0, 0, 1, 2 * 70000**2 + 65510**2 + 2049**2 + 1, 0),
    ],
)  # fmt: skip
def test_counted_by_hand(
    cast: str, overflow: int, saturated: int, underflow: int, nan: int, signal: int, noise: int
) -> None:
    parsed = parse_cast(cast)
    rounded = np.empty_like(HAND)
    fields = SETS[-1].observe_rounding(HAND, rounded, parsed, KEY)
    assert fields.tolist()[:5] == [HAND.size, overflow, saturated, underflow, nan]
    assert fields[5:] == pytest.approx([signal, noise], rel=SUMMED, abs=1e-17)
    assert fields.tobytes() == observe_rounding(HAND, rounded, parsed).tobytes()


def test_updates_counted_by_hand() -> None:
    before = np.float32([1.0, 1.0, 1.0, 1.0, 0.0, 0.0, np.nan, 1.0])
    after = np.float32([1.0, 1.0, 1.001, 1.1, -0.0, 1e-3, np.nan, np.nan])
    update = np.float32([0.0, 1e-9, -1e-3, -0.1, 1e-45, -1e-3, 1.0, np.nan])
    pairs = [(float(b) - float(a), float(u)) for b, a, u in zip(before[:6], after, update)]
    descent, intended = sum(d * u for d, u in pairs), sum(u * u for _, u in pairs)
    for used in SETS:
        fields = used.observe_update(update, before, after, parse_cast("bf16"))
        assert dict(zip(UPDATE_FIELDS, fields.tolist(), strict=True)) == {
            "elements": 8, "updated": 7, "swallowed": 3, "unseen": 4,
            "descent": descent, "intended": intended,
        }  # fmt: skip


@each_set
@pytest.mark.parametrize("text", CASTS)
@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 1023, 1024, 1025, 40_000])
def test_kernels_agree_with_numpy(used: Kernels, text: str, count: int) -> None:
    cast, values = parse_cast(text), _mixture(count)
    rounded = np.empty_like(values)
    fields = used.observe_rounding(values, rounded, cast, KEY, begin=5)
    wanted = _rounded(values, cast, offset=5)
    assert same_bits(rounded, wanted)
    assert fields.tobytes() == observe_rounding(values, wanted, cast).tobytes()
    after = np.where(np.arange(count) % 3, values, np.float32(0.5))
    fields = used.observe_update(values[::-1].copy(), values, after, cast)
    assert fields.tobytes() == observe_update(values[::-1], values, after, cast).tobytes()


@each_set
@pytest.mark.parametrize("text", [*CASTS, *OTHERS])
def test_tiles_without_specials(used: Kernels, text: str) -> None:
    """They are measured by another loop; where one number is special, by the one above."""
    cast = parse_cast(text)
    for values in (_ordinary(20_000), _at_the_ends(cast, 20 * 1024)):
        rounded = np.empty_like(values)
        fields = used.observe_rounding(values, rounded, cast, KEY, begin=5)
        wanted = _rounded(values, cast, offset=5)
        assert same_bits(rounded, wanted)
        assert fields.tobytes() == observe_rounding(values, wanted, cast).tobytes()
        in_place = used.observe_rounding(values, values, cast, KEY, begin=5)
        assert same_bits(values, wanted)
        assert in_place.tobytes() == fields.tobytes()


@pytest.mark.parametrize("scale", [1e-40, 1e-25, 1e-6, 1.0, 1e9, 1e27])
def test_squares_neither_vanish_nor_overflow(scale: float) -> None:
    values = (np.random.default_rng(0).standard_normal(5000) * scale).astype(np.float32)
    rounded = np.empty_like(values)
    fields = SETS[-1].observe_rounding(values, rounded, parse_cast("bf16"), KEY)
    x, q = values.astype(np.float64), rounded.astype(np.float64)
    assert fields[5:] == pytest.approx([np.sum(x * x), np.sum((x - q) ** 2)], rel=SUMMED, abs=0)


@pytest.mark.parametrize("text", ["bf16", "e4m3fn{overflow=saturate}", "e5m2:rup", "fp16:sr"])
def test_sums_are_what_exact_summation_gives(text: str) -> None:
    cast, values = parse_cast(text), _mixture(100_000)
    rounded = _rounded(values, cast)
    fields = dict(zip(ROUNDING_FIELDS, observe_rounding(values, rounded, cast), strict=True))
    finite = np.isfinite(values) & np.isfinite(rounded)
    pairs = list(zip(values[finite].tolist(), rounded[finite].tolist(), strict=True))
    assert fields["signal"] == pytest.approx(math.fsum(x * x for x, _ in pairs), rel=SUMMED)
    assert fields["noise"] == pytest.approx(math.fsum((x - q) ** 2 for x, q in pairs), rel=SUMMED)


@each_set
@pytest.mark.parametrize("threads", [2, 3, 7])
def test_threads_and_memory_change_nothing(used: Kernels, threads: int) -> None:
    values, cast = _mixture((1 << 20) + 12345), parse_cast("bf16:sr")
    alone, shared = np.empty_like(values), values.copy()
    one = used.observe_rounding(values, alone, cast, KEY, begin=77)
    other = used.observe_rounding(shared, shared, cast, KEY, begin=77, threads=threads)
    assert same_bits(alone, shared)
    assert one.tobytes() == other.tobytes()
    one = used.observe_update(alone, values, alone, cast)
    other = used.observe_update(alone, values, alone, cast, threads=threads)
    assert one.tobytes() == other.tobytes()


NORMAL = np.random.default_rng(0).standard_normal(5000).astype(np.float32)
SCALED = [NORMAL, NORMAL * np.float32(1e-39)]  # of the second, most are subnormal


def _scaled(used: Kernels) -> bytes:
    each = [used.observe_rounding(x, np.empty_like(x), parse_cast("e8m2"), KEY) for x in SCALED]
    return b"".join(fields.tobytes() for fields in each)


UNDISTURBED = _scaled(SETS[0])


@pytest.mark.usefixtures("control_register")
@each_set
def test_the_control_register_changes_nothing(used: Kernels) -> None:
    assert _scaled(used) == UNDISTURBED


def _observed(cast: str, shape: Shape) -> onnx.ModelProto:
    """Both operators; the second takes the rounding as an update of its input."""
    attributes = cast_attributes(parse_cast(cast), seed=3, node=4)
    rounding = helper.make_node(
        "QuantizeDequantizeObserved", ["x", "step"], ["y", "health"],
        domain=DOMAIN, name="observed", **attributes,
    )  # fmt: skip
    update = helper.make_node(
        "ObserveUpdate", ["x", "x", "y"], ["change"], domain=DOMAIN, name="update", **attributes
    )
    outputs = [
        value("y", shape=shape),
        value("health", TensorProto.DOUBLE, [len(ROUNDING_FIELDS)]),
        value("change", TensorProto.DOUBLE, [len(UPDATE_FIELDS)]),
    ]
    step = value("step", TensorProto.INT64, [])
    return model([rounding, update], [value("x", shape=shape), step], outputs)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("cast", ["bf16", "fp16:sr", "e4m3fn{overflow=saturate}"])
def test_in_onnx_runtime(cast: str, threads: int) -> None:
    feeds = {"x": _mixture(100_003), "step": np.array(9, np.int64)}
    check_in_both(_observed(cast, ["n"]), feeds, threads=threads)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (2, 3, 5)], ids=str)
@pytest.mark.parametrize("stated", [True, False])
def test_any_shape(shape: tuple[int, ...], stated: bool) -> None:
    x = np.asarray(_mixture(math.prod(shape)).reshape(shape))
    proto = _observed("bf16", shape if stated else None)
    check_in_both(proto, {"x": x, "step": np.array(0, np.int64)})


def test_an_update_of_another_shape_is_refused() -> None:
    node = helper.make_node("ObserveUpdate", ["u", "x", "x"], ["change"], domain=DOMAIN, name="o")
    inputs = [value("u", shape=["n"]), value("x", shape=["m"])]
    outputs = [value("change", TensorProto.DOUBLE, [len(UPDATE_FIELDS)])]
    session = make_session(model([node], inputs, outputs).SerializeToString())
    with pytest.raises(ModelError, match="must be of one shape"):
        run(session, {"u": np.ones(3, np.float32), "x": np.ones(4, np.float32)})

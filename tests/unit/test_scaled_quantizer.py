"""Scaled casts: their grammar, and their numbers by ml_dtypes and by exact fractions."""

from __future__ import annotations

import math
from collections import deque
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from onnxbf.errors import NameUnknown, SpecError, UnsupportedError
from onnxbf.scaled_cast import ScaledCast, is_scaled_cast, parse_scaled_cast
from onnxbf.scaled_quantizer import amax, first_state, next_state, quantize_scaled
from tests.implementations import same_bits

Array = NDArray[Any]
TYPES = {"e4m3fn": ml_dtypes.float8_e4m3fn, "e5m2": ml_dtypes.float8_e5m2, "fp16": np.float16}


def _numbers(seed: int, size: int = 300, magnitude: float = 1.0) -> Array:
    rng = np.random.default_rng(seed)
    spread = np.exp2(rng.integers(-12, 3, size))
    return (rng.normal(size=size) * spread * magnitude).astype(np.float32)


def _exact_scale(largest: float, fmt: str, margin: int = 0) -> np.float32:
    """The float32 nearest to the format's largest number over 2^margin and ``largest``."""
    wanted = Fraction(float(ml_dtypes.finfo(TYPES[fmt]).max)) / 2**margin / Fraction(largest)
    near = np.float32(float(wanted))  # rounded twice: one of the neighbours is nearer, perhaps
    candidates = (near, np.nextafter(near, np.float32(0)), np.nextafter(near, np.float32(np.inf)))
    return min(candidates, key=lambda each: abs(Fraction(float(each)) - wanted))


@pytest.mark.parametrize("fmt", TYPES)
@pytest.mark.parametrize("margin", [0, 3])
@pytest.mark.parametrize("magnitude", [1.0, 2.0**-30, 1e30])
def test_current_scaling_is_what_ml_dtypes_makes_of_scaled_numbers(
    fmt: str, margin: int, magnitude: float
) -> None:
    x = _numbers(0, magnitude=magnitude)
    scale = _exact_scale(float(np.abs(x).max()), fmt, margin)
    largest = float(ml_dtypes.finfo(TYPES[fmt]).max)
    scaled = np.clip((x * scale).astype(np.float32), -largest, largest)
    cast = parse_scaled_cast(f"{fmt}:rne{{scaling=current,margin={margin}}}")
    expected = scaled.astype(TYPES[fmt]).astype(np.float32) / scale
    assert same_bits(quantize_scaled(x, cast), expected)


def test_factors_that_are_powers_of_two_lie_below_the_others() -> None:
    cast = parse_scaled_cast("e4m3fn:rne{scaling=delayed,history=1,scale=power_of_two}")
    for largest, expected in ((448, 1), (449, 0.5), (447, 1), (1, 256), (3, 128)):
        state = next_state(np.array([largest], np.float32), cast, first_state(cast))
        assert state[0] == expected


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 100),
    power=st.integers(-60, 60),
    text=st.sampled_from(["e4m3fn:rne", "e5m2:rtz", "e3m4:rna", "e5m2:rup"]),
    scale=st.sampled_from(["fp32", "power_of_two"]),
)
def test_under_current_scaling_powers_of_two_pass_through(
    seed: int, power: int, text: str, scale: str
) -> None:
    cast = parse_scaled_cast(f"{text}{{scaling=current,scale={scale}}}")
    x, factor = _numbers(seed), np.float32(2.0**power)
    assert same_bits(quantize_scaled(x * factor, cast), quantize_scaled(x, cast) * factor)


def test_numbers_that_vanish_without_scaling_do_not_with_it() -> None:
    x = _numbers(1) * np.float32(2.0**-40)
    plain = (x.astype(TYPES["e5m2"])).astype(np.float32)
    assert (plain == 0).all()
    found = quantize_scaled(x, parse_scaled_cast("e5m2:rne{scaling=current}"))
    normal = np.abs(x) > np.abs(x).max() * 2.0**-29  # e5m2 has 30 normal exponents
    assert np.allclose(found[normal], x[normal], rtol=2.0**-3)


class TransformerEngine:
    """DelayedScaling as NVIDIA documents it, in float64, for one tensor."""

    def __init__(self, history: int, most_recent: bool, margin: int) -> None:
        self.scale, self.amaxes = 1.0, deque([0.0] * history, maxlen=history)
        self._most_recent, self._margin = most_recent, margin

    def after(self, largest: float) -> None:
        self.amaxes.appendleft(largest)
        finite = [each for each in self.amaxes if not math.isnan(each)]
        decides = self.amaxes[0] if self._most_recent else max(finite, default=0.0)
        if math.isfinite(decides) and decides > 0:
            self.scale = 448.0 / 2**self._margin / decides


@pytest.mark.parametrize("history", [1, 2, 16])
@pytest.mark.parametrize("amax_of", ["max", "most_recent"])
def test_delayed_scaling_looks_back(history: int, amax_of: str) -> None:
    cast = parse_scaled_cast(
        f"e4m3fn:rne{{scaling=delayed,history={history},amax={amax_of},margin=1}}"
    )
    rng, state = np.random.default_rng(history), first_state(cast)
    engine = TransformerEngine(history, amax_of == "most_recent", 1)
    special = {7: 0.0, 19: np.nan, 30: np.inf, 31: 0.0}
    for step in range(80):
        x = (rng.normal(size=5) * 2.0 ** rng.integers(-9, 9)).astype(np.float32)
        if step in special:
            x[:] = special[step]
        assert state[0] == pytest.approx(engine.scale, rel=1e-6), step
        assert np.array_equal(state[1:], np.float32(engine.amaxes), equal_nan=True), step
        engine.after(float(np.abs(x).max()))
        state = next_state(x, cast, state)


def test_a_step_is_scaled_by_those_before_it_and_saturates() -> None:
    cast = parse_scaled_cast("e4m3fn:rne{scaling=delayed,history=2}")
    state = next_state(np.array([1], np.float32), cast, first_state(cast))
    x = np.array([4, -4, 0.5, np.inf, np.nan], np.float32)
    assert quantize_scaled(x, cast, state)[:4].tolist() == [1, -1, 0.5, 1]
    assert np.isnan(quantize_scaled(x, cast, state)[4])
    first = np.array([500, 0.3], np.float32)
    assert quantize_scaled(first, cast, first_state(cast)).tolist() == [448, 0.3125]


@pytest.mark.parametrize("scaling", ["current", "delayed,history=3"])
@pytest.mark.parametrize("fill", [0.0, -0.0, np.nan, np.inf])
@pytest.mark.parametrize("size", [0, 1, 40])
def test_tensors_without_a_usable_magnitude(scaling: str, fill: float, size: int) -> None:
    cast = parse_scaled_cast(f"e5m2:rne{{scaling={scaling}}}")
    x = np.full(size, fill, np.float32)
    state = first_state(cast) if cast.history else None
    expected = np.where(np.isinf(x), np.float32(57344), x)
    assert same_bits(quantize_scaled(x, cast, state), expected)
    assert np.array_equal(amax(x), np.float32(fill if size else 0), equal_nan=True)
    if state is not None:
        assert next_state(x, cast, state)[0] == 1


@pytest.mark.parametrize("magnitude", [1e-45, 1e-38, 1e-37, 3e38])
def test_factors_stay_finite_at_both_ends_of_float32(magnitude: float) -> None:
    x = np.array([magnitude, -magnitude, 0], np.float32)
    for margin in (0, 15):
        cast = parse_scaled_cast(f"e4m3fn:rne{{scaling=current,margin={margin}}}")
        assert quantize_scaled(x, cast) == pytest.approx(x, rel=2.0**-4)


@pytest.mark.parametrize(
    "text",
    [
        "e4m3fn:rne{scaling=current}",
        "e5m2:sr{bits=8,scaling=current,margin=3}",
        "e4m3fn:rne{scaling=delayed,history=1024}",
        "fp16:rtz{subnormals=flush,scaling=delayed,history=1,amax=most_recent,scale=power_of_two}",
    ],
)
def test_text_there_and_back(text: str) -> None:
    assert is_scaled_cast(text)
    assert str(parse_scaled_cast(text)) == text


@pytest.mark.parametrize(
    ("text", "error", "complaint"),
    [
        ("e4m3fn:rne{scaling=delayed,history=0}", SpecError, "history .* is 0, .* from 1"),
        ("e4m3fn:rne{scaling=delayed,history=1.5}", SpecError, "history .* is 1.5"),
        ("e4m3fn:rne{scaling=delayed,history=9999999}", SpecError, "has 9999999 steps"),
        ("e4m3fn:rne{scaling=current,margin=half}", SpecError, "margin .* is half"),
        ("e4m3fn:rne{scaling=current,margin=16}", SpecError, "is 16, .* from 0 to 15"),
        ("e4m3fn:rne{scaling=delayed,amax=mean}", NameUnknown, "max, most_recent"),
        ("e4m3fn:rne{scaling=blockwise}", NameUnknown, "current, delayed"),
        ("e4m3fn:rne{scaling=current,scale=e8m0}", NameUnknown, "fp32, power_of_two"),
        ("e4m3fn:rne{scaling=current,history=4}", SpecError, "goes with scaling=delayed"),
        ("e4m3fn:rne{history=4}", SpecError, "goes with scaling=current or =delayed"),
        ("e4m3fn:rne{scaling=current,overflow=infinity}", SpecError, "leave out overflow"),
        ("bf16:rne{scaling=current}", SpecError, "2 to 5 exponent bits.*not bf16"),
        ("e4m3fn:rne{scaling=current,size=3}", NameUnknown, "size"),
    ],
)
def test_what_cannot_be_read(text: str, error: type[Exception], complaint: str) -> None:
    with pytest.raises(error, match=complaint):
        parse_scaled_cast(text)


def test_a_state_that_does_not_fit() -> None:
    x = np.ones(3, np.float32)
    delayed: ScaledCast = parse_scaled_cast("e4m3fn{scaling=delayed,history=2}")
    for state in (None, np.ones(2, np.float32)):
        with pytest.raises(UnsupportedError, match=r"takes one of 3 numbers"):
            quantize_scaled(x, delayed, state)
    with pytest.raises(UnsupportedError, match="takes none"):
        quantize_scaled(x, parse_scaled_cast("e4m3fn{scaling=current}"), np.ones(1, np.float32))

"""Schedules: the published table, closed forms of another kind, text, order, errors."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxbf.errors import NameUnknown, SpecError
from onnxbf.studies.published_rates import PUBLISHED, STEPS
from onnxbf.training.schedules import SCHEDULES, parse_schedule


def _tri(t: float, l: float) -> float:  # noqa: E741
    return 2 / math.pi * abs(math.asin(math.sin(math.pi * t / (2 * l))))


# The same by other means than the code takes.
_CLOSED: dict[str, Callable[[int], float]] = {
    "PLATEAU{schedules=[FIX{k0=1.0},EXP{k0=0.1,gamma=0.99}],start=1}": lambda t: 0.1 * 0.99**t,
    "constant{value=0.3}": lambda t: 0.3,
    "linear{init_value=1,end_value=0.5,transition_steps=50,transition_begin=3}": lambda t: (
        1 - 0.01 * min(max(t - 3, 0), 50)
    ),
    "polynomial{init_value=1,end_value=0.5,transition_steps=50,power=2}": lambda t: (
        0.5 + 0.5 * ((50 - min(t, 50)) / 50) ** 2
    ),
    "cosine{init_value=2,decay_steps=40,alpha=0.1}": lambda t: (
        0.2 + 1.8 * math.cos(math.pi * min(t, 40) / 80) ** 2
    ),
    "exponential{init_value=1,transition_steps=10,decay_rate=0.5}": lambda t: 2 ** (-t / 10),
    "exponential{init_value=1,transition_steps=10,decay_rate=0.5,staircase=true,end_value=0.1}": (
        lambda t: max(0.5 ** (t // 10), 0.1)
    ),
    "piecewise{init_value=1,boundaries=[5,10],scales=[0.1,0.5]}": lambda t: (
        1 if t < 5 else 0.1 if t < 10 else 0.05
    ),
    "one-cycle{transition_steps=100,peak_value=1,pct_start=0.25}": lambda t: (
        0.04 + 0.96 * math.sin(math.pi * t / 50) ** 2
        if t < 25
        else 4e-6 + (1 - 4e-6) * math.cos(math.pi * (min(t, 100) - 25) / 150) ** 2
    ),
    "warm-up{steps=10,schedule=EXP{k0=1,gamma=0.9}}": lambda t: (
        t / 10 if t < 10 else 0.9 ** (t - 10)
    ),
    "joined{schedules=[FIX{k0=3},EXP{k0=1,gamma=0.5},FIX{k0=2}],boundaries=[4,7]}": lambda t: (
        3 if t < 4 else 0.5 ** (t - 4) if t < 7 else 2
    ),
    "epochs{schedule=EXP{k0=1,gamma=0.5},steps=7}": lambda t: 0.5 ** (t // 7),
    "FIX{k0=0.2}": lambda t: 0.2,
    "STEP{k0=1,gamma=0.5,l=7}": lambda t: 0.5 ** math.floor(t / 7),
    "NSTEP{k0=1,gamma=0.1,l=[3,9]}": lambda t: 1 if t < 3 else 0.1 if t < 9 else 0.01,
    "EXP{k0=1,gamma=0.98}": lambda t: math.exp(t * math.log(0.98)),
    "INV{k0=1,gamma=0.1,p=0.5}": lambda t: 1 / math.sqrt(1 + t / 10),
    "POLY{k0=1,p=2,l=50}": lambda t: (1 - t / 50) ** 2 if t < 50 else 0,
    "SIG{k0=1,gamma=-0.2,l=30}": lambda t: 1 / (1 + math.exp(0.2 * (t - 30))),
    "TRI{k0=0.1,k1=0.5,l=6}": lambda t: 0.1 + 0.4 * _tri(t, 6),
    "TRI{k0=0.1,k1=0.5,l=6,descend=true}": lambda t: 0.5 - 0.4 * _tri(t, 6),
    "TRI2{k0=0.1,k1=0.5,l=6}": lambda t: 0.1 + 0.4 * _tri(t, 6) / 2 ** (t // 12),
    "TRIEXP{k0=0.1,k1=0.5,l=6,gamma=0.9}": lambda t: 0.1 + 0.4 * _tri(t, 6) * 0.9**t,
    "SIN{k0=0.1,k1=0.5,l=6}": lambda t: (
        0.1 + 0.4 * math.sqrt(0.5 - 0.5 * math.cos(math.pi * t / 6))
    ),
    "SIN2{k0=0.1,k1=0.5,l=6}": lambda t: (
        0.1 + 0.4 * abs(math.sin(math.pi * t / 12)) / 2 ** (t // 12)
    ),
    "SINEXP{k0=0.1,k1=0.5,l=6,gamma=0.9}": lambda t: (
        0.1 + 0.4 * abs(math.sin(math.pi * t / 12)) * 0.9**t
    ),
    "COS{k0=0.1,k1=0.5,l=6}": lambda t: 0.1 + 0.4 * math.cos(math.pi * t / 6) ** 2,
    "COS{k0=0.1,k1=0.5,l=6,period=lrbench}": lambda t: 0.1 + 0.4 * math.cos(math.pi * t / 12) ** 2,
    "COS2{k0=0.1,k1=0.5,l=6}": lambda t: (
        0.1 + 0.4 * math.cos(math.pi * t / 6) ** 2 / 2 ** (t // 12)
    ),
    "COSEXP{k0=0.1,k1=0.5,l=6,gamma=0.9}": lambda t: (
        0.1 + 0.4 * math.cos(math.pi * t / 6) ** 2 * 0.9**t
    ),
}


@pytest.mark.parametrize("text", PUBLISHED)
def test_the_published_table(text: str) -> None:
    schedule = parse_schedule(text)
    for step, expected in zip(STEPS, PUBLISHED[text]):
        if expected is not None:
            digits = 5e-7 / expected  # printed to six decimals
            assert schedule(step) == pytest.approx(expected, rel=max(1e-6, digits))


@pytest.mark.parametrize("text", _CLOSED)
def test_closed_forms(text: str) -> None:
    schedule = parse_schedule(text)
    for step in range(120):
        assert schedule(step) == pytest.approx(_CLOSED[text](step), rel=1e-9, abs=1e-12), step


def test_every_schedule_has_a_closed_form() -> None:
    assert {text.split("{")[0] for text in _CLOSED} == set(SCHEDULES)


@pytest.mark.parametrize("text", _CLOSED)
def test_a_schedule_prints_as_the_text_that_makes_it(text: str) -> None:
    schedule = parse_schedule(text)
    assert parse_schedule(str(schedule)) == schedule
    assert str(schedule).split("{")[0] == text.split("{")[0]


@settings(max_examples=30)
@given(text=st.sampled_from(sorted(_CLOSED)), order=st.permutations(range(60)))
def test_the_order_of_steps_does_not_matter(text: str, order: list[int]) -> None:
    schedule, fresh = parse_schedule(text), parse_schedule(text)
    assert {step: schedule(step) for step in order} == {step: fresh(step) for step in range(60)}


def test_two_schedules_do_not_interfere() -> None:
    first = parse_schedule("NSTEP{k0=1,gamma=0.1,l=[10]}")
    second = parse_schedule("NSTEP{k0=1,gamma=0.1,l=[100]}")
    assert [(first(50), second(50)), (first(5), second(5))] == [(0.1, 1), (1, 1)]


def test_steps_may_jump_over_boundaries() -> None:
    joined = parse_schedule("joined{schedules=[1,2,3,4],boundaries=[2,4,6]}")
    steps = random.Random(0).sample(range(12), 12)
    assert [joined(step) for step in steps] == [min(step // 2, 3) + 1 for step in steps]


def test_cycles_are_exact_after_a_million_steps() -> None:
    assert parse_schedule("TRI{k0=0,k1=1,l=20}")(40_000_000 + 5) == 0.25
    assert parse_schedule("SIN{k0=0,k1=1,l=20}")(40_000_000 + 20) == 1.0


def test_powers_end_at_infinity_and_zero() -> None:
    assert parse_schedule("EXP{k0=1,gamma=2}")(10**6) == math.inf
    assert parse_schedule("EXP{k0=1,gamma=0.5}")(10**6) == 0


def test_a_number_is_constant() -> None:
    assert parse_schedule("1e-3")(7) == 1e-3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sin{k0=1,k1=2,l=3}", "did you mean 'SIN'"),
        ("SIN{k0=1,k1=2,m=3}", "Schedule 'SIN' has no option 'm': known: descend, k0, k1, l"),
    ],
)
def test_unknown_names(text: str, message: str) -> None:
    with pytest.raises(NameUnknown, match=message):
        parse_schedule(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SIN{k0=1,k1=2}", "needs option 'l'"),
        ("SIN{k0=1,k1=2,l=2.5}", "expected a whole number"),
        ("SIN{k0=one,k1=2,l=2}", "expected a number"),
        ("SIN{k0=1,k1=2,l=0}", "l of at least 1"),
        ("TRI{k0=1,k1=2,l=3,descend=maybe}", "expected true or false"),
        ("NSTEP{k0=1,gamma=1,l=[5,3]}", "boundaries that ascend"),
        ("NSTEP{k0=1,gamma=1,l=5}", "expected a list"),
        ("joined{schedules=[1],boundaries=[2]}", "one boundary between"),
        ("piecewise{init_value=1,boundaries=[1,2],scales=[1]}", "as many scales"),
        ("COS{k0=1,k1=2,l=3,period=both}", "period must be"),
        ("SIN{k0=1", "Cannot read"),
    ],
)
def test_what_cannot_be_had_is_refused(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse_schedule(text)


def test_steps_before_the_first_are_refused() -> None:
    with pytest.raises(ValueError, match="count from 0"):
        parse_schedule("FIX{k0=1}")(-1)

"""Change on plateau, by LRBench's rule worked out by hand."""

from __future__ import annotations

import pytest

from onnxbf.errors import SpecError
from onnxbf.training.schedules import parse_schedule

TEXT = "PLATEAU{schedules=[FIX{k0=1},FIX{k0=0.1},FIX{k0=0.01}],start=1,window=3,cooldown=2}"


def active(losses: list[float], epochs: int, text: str = TEXT) -> float:
    schedule = parse_schedule(text)
    return schedule.after([{"loss": loss} for loss in losses], epochs)(0)


def test_nothing_changes_while_the_loss_falls() -> None:
    assert active([], 10) == 0.1
    assert active([5.0, 4.0, 3.0, 2.0, 1.0], 10) == 0.1


def test_a_plateau_needs_more_epochs_than_the_window() -> None:
    assert active([1.0, 1.0, 1.0], 10) == 0.1
    assert active([1.0, 1.0, 1.0, 1.0], 10) == 1  # early: a larger rate
    assert active([2.0, 1.0, 1.0, 1.0], 10) == 1  # the fall lies before the window
    assert active([1.0, 1.0, 1.0, 0.9], 10) == 0.1  # a fall of 0.1 is no plateau


def test_after_a_change_epochs_pass_before_the_next() -> None:
    flat = [1.0] * 8
    text = TEXT.replace("start=1", "start=2")
    assert [active(flat[:n], 100, text) for n in range(3, 9)] == [0.01, 0.1, 0.1, 0.1, 1, 1]


def test_towards_the_end_the_rate_falls() -> None:
    assert active([9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 3.0, 3.0], 10) == 0.01


def test_scores_that_should_rise() -> None:
    text = TEXT.replace("}],", "}],monitor=accuracy,better=higher,")
    schedule = parse_schedule(text)
    rising = [{"accuracy": value} for value in (0.1, 0.3, 0.5, 0.7)]
    assert schedule.after(rising, 10)(0) == 0.1
    assert schedule.after(rising[::-1], 10)(0) == 1


def test_refusals() -> None:
    with pytest.raises(SpecError, match="monitors 'loss', but an epoch has accuracy"):
        parse_schedule(TEXT).after([{"accuracy": 1.0}], 10)
    for wrong in ("schedules=[]", "schedules=[1],start=1", "schedules=[1],window=1"):
        with pytest.raises(SpecError):
            parse_schedule(f"PLATEAU{{{wrong}}}")


def test_other_schedules_stay_themselves() -> None:
    schedule = parse_schedule("TRI{k0=0.01,k1=0.1,l=20}")
    assert schedule.after([{"loss": 1.0}] * 9, 10) is schedule

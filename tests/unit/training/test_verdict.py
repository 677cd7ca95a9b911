"""Verdicts worked out by hand."""

from __future__ import annotations

import math

import pytest

from onnxbf.training.verdict import contrast, record, summarize

LANE = [[{"accuracy": 0.5}, {"accuracy": 0.9}, {"accuracy": 0.8}], [{"accuracy": 0.6}]]
BASELINE = [[{"accuracy": 0.9}], [{"accuracy": 0.7}]]


def test_final_and_best() -> None:
    found = summarize(LANE, "accuracy", "higher")
    assert (found.final, found.best) == ((0.8, 0.6), (0.9, 0.6))
    assert found.mean_final == pytest.approx(0.7)
    assert summarize(LANE, "accuracy", "lower").best == (0.5, 0.6)


def test_noise_is_two_standard_errors_of_the_difference() -> None:
    found = contrast(LANE, BASELINE, "accuracy", "higher")
    assert found.difference == pytest.approx(-0.1)
    variance = 0.02  # of 0.8 and 0.6, and of 0.9 and 0.7
    assert found.noise == pytest.approx(2 * math.sqrt(2 * variance / 2))
    assert found.within_noise is True
    assert found.worse


def test_beyond_noise() -> None:
    first, second = [[{"loss": 1.0}], [{"loss": 1.01}]], [[{"loss": 2.0}], [{"loss": 2.01}]]
    found = contrast(first, second, "loss", "lower")
    assert found.within_noise is False
    assert not found.worse
    assert contrast(second, first, "loss", "lower").worse


def test_one_seed_says_nothing_about_noise() -> None:
    found = contrast(LANE[:1], BASELINE[:1], "accuracy", "higher")
    assert found.noise is None
    assert found.within_noise is None


def test_nan_is_worse_and_never_the_best() -> None:
    broken = [[{"loss": 1.0}, {"loss": math.nan}]]
    assert summarize(broken, "loss", "lower").best == (1.0,)
    found = contrast(broken, [[{"loss": 1.0}]], "loss", "lower")
    assert found.worse


def test_record() -> None:
    lane, base = (summarize(side, "accuracy", "higher") for side in (LANE, BASELINE))
    found = record(
        {"bf16": {"accuracy": lane}, "none": {"accuracy": base}},
        [contrast(LANE, BASELINE, "accuracy", "higher")],
    )
    assert found["lanes"]["bf16"]["accuracy"] == {"final": (0.8, 0.6), "best": (0.9, 0.6)}
    (item,) = found["contrasts"]
    assert item["within_noise"] is True

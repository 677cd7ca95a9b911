"""The test of equivalence, on rows made by hand, and what a network's claims are."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from onnxbf.studies.claim import Finding, Side
from onnxbf.studies.study import Row
from onnxbf.studies.subject import Floor, Subject

SUBJECT = Subject(
    name="net",
    about="a network",
    train=lambda recipe, seed: {"accuracy": 0.9 + seed / 100, "loss": 1.0},
    score="accuracy",
    allowed=0.01,
    floors=(Floor("accuracy", Side.AT_LEAST, 0.8), Floor("loss", Side.AT_MOST, 2.0)),
)
BITS = Subject(
    name="bits",
    about="a model of text",
    train=SUBJECT.train,
    score="bits",
    allowed=0.01,
    relative=True,
    floors=(),
)


def _rows(plain: Sequence[float], rounded: Sequence[float], loss: float = 1.0) -> list[Row]:
    both = (("none", plain), ("bf16", rounded))
    return [
        {"recipe": recipe, "score": score, "accuracy": score, "loss": loss}
        for recipe, scores in both
        for score in scores
    ]


def _failed(subject: Subject, rows: Sequence[Row]) -> set[str]:
    measured = subject.judge(rows, "bf16")
    findings = [Finding(claim, measured[claim.name]) for claim in subject.claims]
    return {finding.claim.name for finding in findings if not finding.passed}


@pytest.mark.parametrize("rounded", [0.905, 0.915])
def test_a_difference_within_what_is_allowed_is_none(rounded: float) -> None:
    rows = _rows([0.91] * 3, [rounded] * 3)
    assert not _failed(SUBJECT, rows)
    assert SUBJECT.judge(rows, "bf16")["net"] == pytest.approx(0.5)


@pytest.mark.parametrize("rounded", [0.895, 0.925])
def test_one_beyond_it_fails_to_either_side(rounded: float) -> None:
    assert _failed(SUBJECT, _rows([0.91] * 3, [rounded] * 3)) == {"net"}


def test_seeds_that_differ_in_float32_allow_more() -> None:
    plain = [0.87, 0.91, 0.95]  # of deviation 0.04: 2 standard errors are 0.0462
    assert not _failed(SUBJECT, _rows(plain, [0.865] * 3))
    assert _failed(SUBJECT, _rows(plain, [0.863] * 3)) == {"net"}
    assert SUBJECT.margin(plain) == pytest.approx(2 * 0.04 / math.sqrt(3))
    assert SUBJECT.margin([0.89, 0.93]) == pytest.approx(2 * 0.04 / math.sqrt(2 * 3))
    assert SUBJECT.margin([0.87, 0.91, 0.95] * 4) < SUBJECT.margin(plain)


def test_seeds_that_differ_when_rounded_do_not() -> None:
    assert _failed(SUBJECT, _rows([0.91] * 3, [0.80, 0.85, 0.99])) == {"net"}


def test_a_share_is_of_the_mean() -> None:
    assert not _failed(BITS, _rows([2.0], [2.019]))
    assert _failed(BITS, _rows([2.0], [2.021])) == {"bits"}
    assert _failed(BITS, _rows([1.0], [1.019])) == {"bits"}


def test_every_training_must_have_learned() -> None:
    assert _failed(SUBJECT, _rows([0.1] * 3, [0.1] * 3, loss=3.0)) == {"net accuracy", "net loss"}
    rows = [*_rows([0.9] * 3, [0.9] * 3), {"recipe": "x", "accuracy": 0.79, "loss": 0.0}]
    assert _failed(SUBJECT, rows) == {"net accuracy"}


def test_what_is_no_number_fails() -> None:
    rows = _rows([0.9, 0.9], [0.9, math.nan], loss=math.nan)
    assert _failed(SUBJECT, rows) == {"net", "net accuracy", "net loss"}
    assert _failed(SUBJECT, _rows([math.nan], [0.9])) == {"net", "net accuracy"}


def test_rows_say_what_was_trained() -> None:
    assert SUBJECT.rows("bf16", 2) == [
        {
            "network": "net",
            "recipe": "bf16",
            "seed": 2,
            "metric": "accuracy",
            "score": 0.92,
            "accuracy": 0.92,
            "loss": 1.0,
        }
    ]

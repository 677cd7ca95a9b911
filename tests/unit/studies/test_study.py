"""What carries studies out and judges them, on a study that trains nothing."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
from click.testing import CliRunner, Result

from onnxbf.cli.main import group
from onnxbf.errors import ModelError, NameUnknown, RuntimeMissing, SpecError
from onnxbf.studies import registry
from onnxbf.studies.chart import Chart
from onnxbf.studies.claim import Claim, Finding, Side
from onnxbf.studies.optional import needed
from onnxbf.studies.registry import STUDIES, parse_studies, study_class
from onnxbf.studies.results import write_results
from onnxbf.studies.study import (
    Cell,
    CellDone,
    Effort,
    Outcome,
    Row,
    Study,
    choose_claims,
    effort_for,
    means,
    run_study,
)


@dataclass(frozen=True, kw_only=True)
class Square(Study):
    """Squares whole numbers."""

    name: ClassVar[str] = "square"
    source: ClassVar[str] = "Euclid, Elements, book II"
    about: ClassVar[str] = "squares grow"
    seeds: ClassVar[tuple[int, int]] = (3, 2)
    claims: ClassVar[Sequence[Claim]] = (Claim("large", "the largest is", Side.AT_LEAST, 4),)
    charts: ClassVar[Sequence[Chart]] = (
        Chart("bars", "Squares", "number", "square", "parity"),
        Chart("curve", "Squares", "number", "square", "parity", line=True, log=True),
    )

    power: int = 2

    def cells(self, effort: Effort) -> Sequence[Cell]:
        return [Cell(str(n), lambda n=n: [self._row(n)]) for n in range(1, effort.seeds + 1)]

    def judge(self, rows: Sequence[Row]) -> Mapping[str, float]:
        return {"large": max(float(row["square"]) for row in rows)}

    def remarks(self, rows: Sequence[Row]) -> Sequence[str]:
        return [f"{len(rows)} numbers."]

    def _row(self, number: int) -> Row:
        return {
            "number": number,
            "square": number**self.power,
            "parity": ["odd", "even"][~number % 2],
        }


@pytest.fixture
def square(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "STUDIES", {"square": "square_study:Square"})
    monkeypatch.setitem(sys.modules, "square_study", SimpleNamespace(Square=Square))


def _outcome(study: Study, effort: Effort) -> Outcome:
    *_, outcome = run_study(study, effort)
    assert isinstance(outcome, Outcome)
    return outcome


@pytest.mark.parametrize(
    ("side", "below", "equal", "above"),
    [
        (Side.AT_MOST, True, True, False),
        (Side.AT_LEAST, False, True, True),
        (Side.BELOW, True, False, False),
    ],
)
def test_sides(side: Side, below: bool, equal: bool, above: bool) -> None:
    claim = Claim("c", "", side, 1.0)
    verdicts = [Finding(claim, number).passed for number in (0.5, 1.0, 1.5)]
    assert verdicts == [below, equal, above]
    assert not Finding(claim, math.nan).passed


def test_cells_are_told_one_by_one_and_then_the_outcome() -> None:
    *cells, outcome = run_study(Square(), Effort(3))
    assert cells == [CellDone(str(n), n, 3) for n in (1, 2, 3)]
    assert isinstance(outcome, Outcome)
    assert [row["square"] for row in outcome.rows] == [1, 4, 9]
    assert outcome.passed and outcome.findings[0].measured == 9
    assert not _outcome(Square(), Effort(1)).passed


def test_the_effort_is_the_study_s_own_unless_told() -> None:
    study = Square()
    assert [
        effort_for(study, *asked).seeds for asked in ((None, False), (None, True), (7, True))
    ] == [
        3,
        2,
        7,
    ]
    with pytest.raises(SpecError, match="at least 1"):
        Effort(0)


def test_means_are_of_groups() -> None:
    rows = [
        {"a": "x", "b": 1, "c": 2.0},
        {"a": "x", "b": 2, "c": 4.0},
        {"a": "y", "b": 5, "c": 0.0},
    ]
    assert means(rows, ("a",), ("b", "c")) == [
        {"a": "x", "b": 1.5, "c": 3},
        {"a": "y", "b": 5, "c": 0},
    ]


def test_results(tmp_path: Path) -> None:
    paths = write_results(_outcome(Square(), Effort(3, quick=True)), tmp_path / "new" / "square")
    assert [path.name for path in paths] == ["results.json", "rows.csv", "bars.png", "curve.png"]
    data = json.loads(paths[0].read_text())
    assert data["passed"] and data["options"] == {"power": 2} and data["quick"]
    assert data["findings"][0]["measured"] == 9 and data["findings"][0]["side"] == "at least"
    with paths[1].open() as file:
        assert [row["square"] for row in csv.DictReader(file)] == ["1", "4", "9"]
    for path in paths[2:]:
        assert path.read_bytes().startswith(b"\x89PNG")


def test_numbers_that_json_has_not_become_text(tmp_path: Path) -> None:
    outcome = _outcome(Square(), Effort(1))
    broken = Outcome(outcome.study, outcome.effort, [], [Finding(Square.claims[0], math.nan)], 0.0)
    assert (
        json.loads(write_results(broken, tmp_path)[0].read_text())["findings"][0]["measured"]
        == "nan"
    )


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="Cannot make folder"):
        write_results(_outcome(Square(), Effort(1)), tmp_path / "file" / "square")


def test_a_package_that_is_not_installed() -> None:
    with pytest.raises(RuntimeMissing, match=r"needs no_such_package.*onnxbf\[studies\]"):
        needed("no_such_package.part")


def test_packages_are_checked_before_any_study_is_run(
    square: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Square, "packages", ("no_such_package",))
    monkeypatch.setattr(Square, "cells", lambda *_: pytest.fail("the study ran"))
    with pytest.raises(RuntimeMissing, match="needs no_such_package"):
        next(run_study(Square(), Effort(1)))
    result = _study("run", "square")
    assert result.exit_code == 2 and "needs no_such_package" in result.output


def test_data_of_one_s_own_needs_no_package() -> None:
    pytest.importorskip("onnxruntime")
    ((own,), (folder,)) = map(parse_studies, ("bf16", "bf16{data=folder}"))
    assert own.needs() == ("sklearn",) and not folder.needs()


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_is_under_its_own_name(name: str) -> None:
    pytest.importorskip("onnxruntime")
    study = study_class(name)
    assert study.name == name
    names = [claim.name for claim in study.claims]
    assert len({*names}) == len(names) > 0
    assert issubclass(study, Study) and isinstance(parse_studies(name)[0], study)


def test_names_that_are_none() -> None:
    with pytest.raises(NameUnknown, match="did you mean 'lrbench'"):
        parse_studies("lrbensh")
    with pytest.raises(NameUnknown, match=r"Study 'lrbench' has no option 'recip': .*'recipe'"):
        parse_studies("lrbench{recip=bf16}")
    with pytest.raises(NameUnknown, match="Unknown study 'all'"):
        parse_studies("all{recipe=bf16}")


def _study(*arguments: str) -> Result:
    return CliRunner().invoke(group, ["study", *arguments])


@pytest.mark.usefixtures("square")
def test_run_and_list() -> None:
    good, bad = _study("run", "square"), _study("run", "square{power=1}", "--quick")
    assert good.exit_code == 0 and bad.exit_code == 1
    assert "PASS large: the largest is 9, at least 4" in good.output
    assert "PASS: square, 3 seeds" in good.output and "3 numbers." in good.output
    assert "FAIL large: the largest is 2, at least 4" in bad.output
    assert "large" in _study("list").output and "power=2" in _study("list").output


@pytest.mark.usefixtures("square")
def test_one_that_fails_decides_the_exit_code(tmp_path: Path) -> None:
    result = _study("run", "square{power=1}", "all", "-o", str(tmp_path))
    assert result.exit_code == 1
    assert "FAIL: square" in result.output and "PASS: square" in result.output
    assert (tmp_path / "square" / "results.json").is_file()


def test_claims_are_chosen_by_name_or_first_word() -> None:
    pytest.importorskip("onnxruntime")
    studies = [study_class("lrbench")(), study_class("range")()]
    names = [[claim.name for claim in each] for each in choose_claims(studies, ["D1", "A3 bits"])]
    assert names == [["D1", "D1 printed"], ["A3 bits"]]
    assert [len(each) for each in choose_claims(studies, [])] == [7, 5]
    with pytest.raises(NameUnknown, match="claim 'A3 bit': did you mean 'A3 bits'"):
        choose_claims(studies, ["A3 bit"])


@pytest.mark.usefixtures("square")
def test_one_claim_alone() -> None:
    result = _study("run", "square", "--claim", "large")
    assert result.exit_code == 0 and "PASS large" in result.output
    refused = _study("run", "square", "--claim", "larg")
    assert refused.exit_code == 2 and "did you mean 'large'" in refused.output


@pytest.mark.usefixtures("square")
@pytest.mark.parametrize("arguments", [("run", "cube"), ("run", "square{powr=2}"), ("run",)])
def test_refused(arguments: tuple[str, ...]) -> None:
    result = _study(*arguments)
    assert result.exit_code == 2 and "Error" in result.output

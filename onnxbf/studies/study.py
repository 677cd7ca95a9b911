"""What a study is, and how one is carried out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from onnxbf.errors import NameUnknown, SpecError
from onnxbf.studies.chart import Chart
from onnxbf.studies.claim import Claim, Finding
from onnxbf.studies.optional import needed

Number = float | int
Row = Mapping[str, str | Number]


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is done: trainings with other ``seeds``, and whether less will do (``quick``)."""

    seeds: int
    quick: bool = False

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise SpecError(f"--seeds must be at least 1, not {self.seeds}.")


@dataclass(frozen=True, slots=True)
class Cell:
    """One piece of a study's work, such as a training; ``rows`` does it."""

    name: str
    rows: Callable[[], Iterable[Row]]


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study; its fields are its options.

    Attributes:
        name: what the command line calls it.
        source: the paper.
        about: what is done, in a line.
        claims: what is judged, with limits.
        seeds: how many, unless told: by default and for ``--quick``.
        charts: what is drawn of the rows.
        packages: what else must be installed, as modules; see ``needs``.
    """

    name: ClassVar[str]
    source: ClassVar[str]
    about: ClassVar[str]
    claims: ClassVar[Sequence[Claim]]
    seeds: ClassVar[tuple[int, int]] = (3, 1)
    charts: ClassVar[Sequence[Chart]] = ()
    packages: ClassVar[Sequence[str]] = ()

    def cells(self, effort: Effort) -> Sequence[Cell]:
        """All the work, in pieces.

        Raises:
            OnnxbfError: the options ask for what cannot be.
        """
        raise NotImplementedError

    def needs(self) -> Sequence[str]:
        """Those of the packages that these options call for."""
        return self.packages

    def judged(self) -> Sequence[Claim]:
        """Those of the claims that these options leave to be judged."""
        return self.claims

    def judge(self, rows: Sequence[Row]) -> Mapping[str, float]:
        """The number for every claim."""
        raise NotImplementedError

    def table(self, rows: Sequence[Row]) -> Sequence[Row]:
        """What is shown of the rows: all of them, or their means."""
        return rows

    def remarks(self, rows: Sequence[Row]) -> Sequence[str]:
        """What else the rows say, in sentences."""
        return ()


@dataclass(frozen=True, slots=True)
class CellDone:
    """A cell is done; ``done`` of ``total`` are."""

    name: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """A study is done."""

    study: Study
    effort: Effort
    rows: Sequence[Row]
    findings: Sequence[Finding]
    seconds: float

    @property
    def passed(self) -> bool:
        return all(finding.passed for finding in self.findings)


def run_study(
    study: Study, effort: Effort, claims: Sequence[Claim] | None = None
) -> Iterator[CellDone | Outcome]:
    """Carry out a study: each cell as it is done, then the outcome.

    Args:
        claims: those of the study's that are judged; all unless told.

    Raises:
        RuntimeMissing: a package that it needs is not installed; nothing has been done then.
    """
    check_packages([study])
    started = time.monotonic()
    cells = study.cells(effort)
    rows: list[Row] = []
    for done, cell in enumerate(cells, 1):
        rows += cell.rows()
        yield CellDone(cell.name, done, len(cells))
    measured = study.judge(rows)
    judged = study.claims if claims is None else claims
    findings = [Finding(claim, measured[claim.name]) for claim in judged]
    yield Outcome(study, effort, rows, findings, time.monotonic() - started)


def check_packages(studies: Sequence[Study]) -> None:
    """Raise RuntimeMissing unless all that these studies need is installed."""
    for package in dict.fromkeys(each for study in studies for each in study.needs()):
        needed(package)


def effort_for(study: Study, seeds: int | None, quick: bool) -> Effort:
    """The effort that is asked for: the study's own number of seeds unless told."""
    usual, least = study.seeds
    return Effort(seeds or (least if quick else usual), quick)


def choose_claims(studies: Sequence[Study], names: Sequence[str]) -> list[Sequence[Claim]]:
    """The claims of each study that are named: by all of a name or its first word; all if none is.

    Raises:
        NameUnknown: a claim that none of the studies has.
    """
    known = {each for study in studies for claim in study.claims for each in _names(claim)}
    for name in names:
        if name not in known:
            raise NameUnknown("claim", name, known)
    return [
        [claim for claim in study.claims if not names or {*names} & {*_names(claim)}]
        for study in studies
    ]


def _names(claim: Claim) -> tuple[str, str]:
    return claim.name, claim.name.split()[0]


def means(rows: Sequence[Row], by: Sequence[str], of: Sequence[str]) -> list[Row]:
    """Rows in groups that agree in ``by``, with the mean of every column in ``of``."""
    groups: dict[tuple[str | Number, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in by), []).append(row)
    return [
        {
            **dict(zip(by, key)),
            **{name: sum(float(row[name]) for row in group) / len(group) for name in of},
        }
        for key, group in groups.items()
    ]

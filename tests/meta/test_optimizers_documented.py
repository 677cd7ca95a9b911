"""docs/optimizers.md has every optimizer and every option, with its default."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from onnxbf.training.optimizers import OPTIMIZERS, Optimizer

PAGE = (Path(__file__).parents[2] / "docs" / "optimizers.md").read_text(encoding="utf-8")
OWN, SHARED = PAGE.split("## Options of all", maxsplit=1)
COMMON = [*(field.name for field in dataclasses.fields(Optimizer)), "decoupled"]
_ROW = re.compile(r"^\| `(\w+)` \| (.*?) \| (.*) \|$", re.MULTILINE)
ROWS = {name: (options, formula) for name, options, formula in _ROW.findall(OWN)}
COMMON_ROWS = {name: default for name, default, _ in _ROW.findall(SHARED)}


def _defaults(name: str) -> dict[str, str]:
    made = OPTIMIZERS[name]()
    return {f.name: _text(getattr(made, f.name)) for f in dataclasses.fields(made)}


def _text(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return re.sub(r"\.0$", "", text) or "(nothing)"


def test_every_optimizer_has_a_row() -> None:
    assert list(ROWS) == list(OPTIMIZERS)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_its_own_options_stand_there_with_their_defaults(name: str) -> None:
    told = dict(re.findall(r"`(\w+)=([^`]*)`", ROWS[name][0]))
    assert told == {o: value for o, value in _defaults(name).items() if o not in COMMON}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_other_defaults_of_common_options_are_told(name: str) -> None:
    told = dict(re.findall(r"`(\w+)=([^`]*)`", ROWS[name][1]))
    usual = _defaults("sgd")
    mine = {o: value for o, value in _defaults(name).items() if o in COMMON}
    assert told == {o: value for o, value in mine.items() if value != usual[o]}


def test_options_of_all_stand_there_with_their_defaults() -> None:
    told = {name: default.strip("`") for name, default in COMMON_ROWS.items()}
    assert told == {option: _defaults("sgd")[option] for option in COMMON}

"""docs/schedules.md has every schedule and every option, with its default."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from onnxbf.training.schedules import SCHEDULES

PAGE = (Path(__file__).parents[2] / "docs" / "schedules.md").read_text(encoding="utf-8")
_ROW = re.compile(r"^\| `([\w-]+)` \| (.*?) \| .+ \|$", re.MULTILINE)
ROWS = dict(_ROW.findall(PAGE))


def test_every_schedule_has_a_row() -> None:
    assert list(ROWS) == list(SCHEDULES)


@pytest.mark.parametrize("name", SCHEDULES)
def test_its_options_stand_there_with_their_defaults(name: str) -> None:
    told = [text.partition("=")[::2] for text in re.findall(r"`([^`]*)`", ROWS[name])]
    parameters = inspect.signature(SCHEDULES[name]).parameters.values()
    assert told == [(option.name, _text(option.default)) for option in parameters]


def _text(default: object) -> str:
    if default is inspect.Parameter.empty:
        return ""
    return str(default).lower() if isinstance(default, bool) else str(default)

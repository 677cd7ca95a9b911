"""docs/metrics.md has every metric, its options with their defaults, and which way is better."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from onnxbf.training.metrics import METRICS

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
_ROW = re.compile(r"^\| `([\w-]+)` \| (.*?) ?\| (\w+) \| .+ \|$", re.MULTILINE)
ROWS = {name: (options, better) for name, options, better in _ROW.findall(PAGE)}


def test_every_metric_has_a_row() -> None:
    assert list(ROWS) == list(METRICS)


@pytest.mark.parametrize("name", METRICS)
def test_its_row_is_true(name: str) -> None:
    options, better = ROWS[name]
    parameters = inspect.signature(METRICS[name]).parameters
    assert dict(re.findall(r"`(\w+)=([^`]*)`", options)) == {
        option: str(parameter.default) for option, parameter in parameters.items()
    }
    assert better == METRICS[name]().better

"""The log of a run: whole lines, and none that will be written again."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from onnxbf.errors import ModelError
from onnxbf.training.run_log import RunLog


def test_what_came_after_a_checkpoint_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with RunLog(path) as log:
        log.write({"step": 0})
        size = log.flush()
        log.write({"step": 1})
    with RunLog(path, size) as log:
        log.write({"step": 1, "again": True})
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert records == [{"step": 0}, {"step": 1, "again": True}]


def test_a_new_run_begins_a_new_log(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("from before\n")
    with RunLog(path) as log:
        log.write({"step": 0})
    assert path.read_text() == '{"step": 0}\n'


def test_numbers_that_json_lacks_become_text(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with RunLog(path) as log:
        log.write({"loss": math.nan, "scores": {"a": math.inf, "b": 1.5}})
    assert json.loads(path.read_text()) == {"loss": "nan", "scores": {"a": "inf", "b": 1.5}}


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="Cannot write"):
        RunLog(tmp_path / "absent" / "log.jsonl")

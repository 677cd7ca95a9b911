"""The log of a run: whole lines, and none that will be written again."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
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


@contextlib.contextmanager
def _small_files() -> Iterator[None]:
    """No file grows beyond 150 bytes: to who writes, as a full disk.

    No fixture: pytest writes what became of a test before it takes fixtures down.
    """
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _write_too_much(log: RunLog) -> None:
    with log:
        log.write({"text": "x" * 100})
        assert log.flush() == 113
        log.write({"text": "x" * 100})
        try:
            log.flush()
        finally:
            log.write({"more": 1})  # which waits to be written when the file is closed


def test_a_full_disk_is_told_and_leaves_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with _small_files(), pytest.raises(ModelError, match=r"Cannot write '.*log.jsonl': .*--resume"):
        _write_too_much(RunLog(path))
    assert json.loads(path.read_bytes()[:113]) == {"text": "x" * 100}

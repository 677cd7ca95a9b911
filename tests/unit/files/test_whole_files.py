"""Files and folders appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from onnxbf.errors import ModelError, UnsupportedError
from onnxbf.files import filling_folder, write_text


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no folder"):
        write_text(tmp_path / "no" / "r.json", "{}")
    with pytest.raises(ModelError, match="is a folder"):
        write_text(tmp_path, "{}")


def _fill(path: Path, text: str, *, force: bool = False) -> None:
    with filling_folder(path, last="b", force=force) as folder:
        for name in "abc":
            (folder / name).write_text(text)


def _texts(path: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in path.iterdir()}


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "made"
    with pytest.raises(RuntimeError), filling_folder(target, last="b") as folder:
        (folder / "a").write_text("half")
        assert not target.exists()
        raise RuntimeError("disk full")
    assert list(tmp_path.iterdir()) == []
    _fill(target, "whole")
    assert _texts(target) == dict.fromkeys("abc", "whole")
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_files_in_a_folder_are_replaced_if_that_is_asked_for(tmp_path: Path) -> None:
    _fill(tmp_path, "new")  # it is empty
    (tmp_path / "kept").write_text("mine")
    with pytest.raises(UnsupportedError, match="holds files already"):
        _fill(tmp_path, "newer")
    assert _texts(tmp_path) == {**dict.fromkeys("abc", "new"), "kept": "mine"}
    _fill(tmp_path, "newer", force=True)
    assert _texts(tmp_path) == {**dict.fromkeys("abc", "newer"), "kept": "mine"}


def test_a_mixture_of_old_and_new_files_lacks_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fill(tmp_path, "old")
    replace, done = os.replace, []

    def fail(source: Path, target: Path) -> None:
        if done:
            raise RuntimeError("killed")
        done.append(replace(source, target))

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(RuntimeError):
        _fill(tmp_path, "new", force=True)
    assert _texts(tmp_path) == {"a": "new", "c": "old"}


def test_no_place_for_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no folder"):
        _fill(tmp_path / "no" / "made", "")
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="is a file"):
        _fill(tmp_path / "file", "", force=True)

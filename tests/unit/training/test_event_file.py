"""Event files: their bytes by the specifications, their messages by protobuf's own parser."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from onnxbf.errors import ModelError
from onnxbf.training.event_file import EventFiles, crc32c, framed
from tests.event_files import curves, events, payloads

READ = bytes.fromhex(  # an iSCSI SCSI Read (10) command
    "01c00000000000000000000000000000140000000000040000000014000000182800000000000000"
    "0200000000000000"
)


@pytest.mark.parametrize(
    ("data", "expected"),
    [  # RFC 3720, B.4; the last is the check value of catalogues of checksums
        (bytes(32), "aa36918a"),
        (b"\xff" * 32, "43aba862"),
        (bytes(range(32)), "4e79dd46"),
        (bytes(range(31, -1, -1)), "5cdb3f11"),
        (READ, "563a96d9"),
        (b"123456789", "839206e3"),
        (b"", "00000000"),
    ],
)
def test_checksums(data: bytes, expected: str) -> None:
    assert crc32c(data).to_bytes(4, "little").hex() == expected


def test_how_every_event_file_begins() -> None:
    """With a record of 24 bytes; ``a37f4b22`` is what TensorFlow's files have there."""
    payload = b"\x09" + bytes(8) + b"\x1a\x0dbrain.Event:2"
    assert framed(payload)[:12].hex() == "1800000000000000a37f4b22"
    assert [*payloads(framed(payload))] == [payload]


# What RecordWriter and the messages of the package tensorboard 2.21.0 make of the same.
THEIRS = bytes.fromhex(
    "1800000000000000a37f4b220900002040fc54d9411a0d627261696e2e4576656e743a322b353110"
    "100000000000000095fbfe180900002040fc54d94110ac023a020801b94512a3"
    "3d000000000000006049f1ec0900002040fc54d94110ac022a2f0a110a0a747261696e2f6c6f7373"
    "150000803e0a1a0a13747261696e2f6c6561726e696e675f72617465150000000095bd30a8"
)


def test_the_bytes_are_those_of_tensorboard_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 1700000000.5)
    EventFiles(tmp_path, 300, {}).write(300, {"train/loss": 0.25, "train/learning_rate": 0.0})
    (path,) = tmp_path.iterdir()
    assert path.read_bytes() == THEIRS


def test_numbers_of_every_kind(tmp_path: Path) -> None:
    numbers = [0.1, -0.0, math.inf, -math.inf, math.nan, 1e300, 1e-300, 3]
    steps = [0, 1, 127, 128, 16383, 16384, 2**31, 2**62]
    files = EventFiles(tmp_path / "new" / "folder", 0, {})
    for step, number in zip(steps, numbers, strict=True):
        files.write(step, {"größe/a{b=1}": number, "other": 1.0})
    found = curves(tmp_path / "new" / "folder")
    assert [*found["größe/a{b=1}"]] == steps
    with np.errstate(over="ignore"):
        wanted = np.array(numbers, np.float32)
    assert np.float32([*found["größe/a{b=1}"].values()]).tobytes() == wanted.tobytes()


def test_every_event_is_in_the_file_at_once(tmp_path: Path) -> None:
    files = EventFiles(tmp_path, 0, {})
    assert not [*tmp_path.iterdir()]
    for step in range(3):
        files.write(step, {"a": 1.0})
        (path,) = tmp_path.iterdir()
        assert files.sizes() == {path.name: path.stat().st_size}
        assert [event.step for event in events(path)] == [0, *range(step + 1)]
    cut = path.read_bytes()[:-1]
    assert len([*payloads(cut)]) == 3  # what a killed process leaves is read up to there


def test_a_run_that_is_resumed_goes_on_in_another_file(tmp_path: Path) -> None:
    names = [f"events.out.tfevents.000000000{number}" for number in range(3)]
    first = EventFiles(tmp_path, 0, {})
    for step in (0, 1):
        first.write(step, {"a": 0.0})
    kept = first.sizes()
    for step in (2, 3):
        first.write(step, {"a": 0.0})
    second = EventFiles(tmp_path, 2, kept)
    for step in (2, 3):
        second.write(step, {"a": 1.0})
    assert curves(tmp_path) == {"a": {0: 0.0, 1: 0.0, 2: 1.0, 3: 1.0}}
    third = EventFiles(tmp_path, 2, kept)  # the second left no checkpoint
    assert third.sizes() == kept
    third.write(2, {"a": 2.0})
    assert curves(tmp_path) == {"a": {0: 0.0, 1: 0.0, 2: 2.0}}
    old, new = sorted(tmp_path.iterdir())
    assert [old.name, new.name] == [names[0], names[2]]
    assert third.sizes() == {**kept, new.name: new.stat().st_size}
    assert [event.step for event in events(new) if event.session_log.status == 1] == [2]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match="Cannot make folder"):
        EventFiles(tmp_path / "file", 0, {}).write(0, {"a": 1.0})


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    files = EventFiles(tmp_path, 0, {})
    (tmp_path / "events.out.tfevents.0000000000").mkdir()
    with pytest.raises(ModelError, match=r"Cannot write .*tfevents.0000000000': Is a directory"):
        files.write(0, {"a": 1.0})

"""Event files as TensorBoard reads them: records of TFRecord that hold Event messages.

A record is the length of its payload (8 bytes, little endian), the masked CRC-32C of these, the
payload, and the masked CRC-32C of that (TensorFlow, core/lib/io/record_writer.h). The payload is a
message of core/util/event.proto. The package ``tensorboard`` writes such files, too, but brings a
web server and gRPC along.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from onnxbf.errors import ModelError

_NAME, _DIGITS = "events.out.tfevents.", 10  # what TensorBoard looks for, and reads in order
_VERSION = b"brain.Event:2"
_START = 1  # a SessionLog.SessionStatus

# What stands before a field in the encoding of Protocol Buffers: 8 * its number + its wire type.
_WALL_TIME, _STEP, _FILE_VERSION, _SUMMARY, _SESSION_LOG = 0x09, 0x10, 0x1A, 0x2A, 0x3A  # Event
_VALUE = 0x0A  # Summary
_TAG, _SIMPLE_VALUE = 0x0A, 0x15  # Summary.Value
_STATUS = 0x08  # SessionLog


class EventFiles:
    """The curves of a network in training: event files in a folder, one for each start of the run.

    A file is made at the first event, and every event is in it at once: what ends the process
    leaves whole records. A run that is resumed cuts off what came after its checkpoint and begins
    another file: a TensorBoard that is running would go on in the middle of a record.

    Args:
        folder: made if it is not there.
        start: the step that comes next: TensorBoard forgets what it has of it and of later ones.
        kept: how much is kept of each file that is there, in bytes; others are removed.

    Raises:
        ModelError: the folder cannot be written to.
    """

    def __init__(self, folder: Path, start: int, kept: Mapping[str, int]) -> None:
        there = sorted(folder.glob(_NAME + "[0-9]" * _DIGITS))
        number = 1 + int(there[-1].name.removeprefix(_NAME)) if there else 0
        self._path, self._start = folder / f"{_NAME}{number:0{_DIGITS}}", start
        self._sizes = {path.name: kept[path.name] for path in there if path.name in kept}
        for path in there:
            _cut(path, kept.get(path.name, 0))

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Add an event: a number for each curve, at a step."""
        if self._path.name not in self._sizes:
            self._begin()
        self._append(bytes([_STEP]) + _varint(step) + _field(_SUMMARY, _summary(scalars)))

    def sizes(self) -> dict[str, int]:
        """The bytes of each file: ``kept`` of a run that goes on from here."""
        return dict(self._sizes)

    def _begin(self) -> None:
        folder = self._path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ModelError(f"Cannot make folder {str(folder)!r}: {error.strerror}.") from None
        self._append(_field(_FILE_VERSION, _VERSION))
        if self._start:
            log = _field(_SESSION_LOG, bytes([_STATUS, _START]))
            self._append(bytes([_STEP]) + _varint(self._start) + log)

    def _append(self, fields: bytes) -> None:
        record = framed(bytes([_WALL_TIME]) + struct.pack("<d", time.time()) + fields)
        try:
            with self._path.open("ab") as file:
                file.write(record)
        except OSError as error:
            raise ModelError(f"Cannot write {str(self._path)!r}: {error.strerror}.") from None
        self._sizes[self._path.name] = self._sizes.get(self._path.name, 0) + len(record)


def framed(payload: bytes) -> bytes:
    """A record of TFRecord."""
    length = struct.pack("<Q", len(payload))
    return b"".join((length, _masked_checksum(length), payload, _masked_checksum(payload)))


def crc32c(data: bytes) -> int:
    """The checksum CRC-32C (Castagnoli) of RFC 3720."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def _remainder(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ 0x82F63B78 * (byte & 1)
    return byte


_TABLE = tuple(_remainder(byte) for byte in range(256))


def _masked_checksum(data: bytes) -> bytes:
    """As TensorFlow stores it: a checksum of data that holds checksums would be a weak one."""
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _summary(scalars: Mapping[str, float]) -> bytes:
    with np.errstate(over="ignore"):  # a perplexity may be infinite in float32
        numbers = np.array([*scalars.values()], "<f4")
    return b"".join(
        _field(_VALUE, _field(_TAG, tag.encode()) + bytes([_SIMPLE_VALUE]) + number.tobytes())
        for tag, number in zip(scalars, numbers)
    )


def _field(key: int, content: bytes) -> bytes:
    return bytes([key]) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest ones first."""
    lowest, rest = number & 0x7F, number >> 7
    return bytes([lowest | 0x80]) + _varint(rest) if rest else bytes([lowest])


def _cut(path: Path, size: int) -> None:
    try:
        os.truncate(path, size) if size else path.unlink()
    except OSError as error:
        raise ModelError(f"Cannot write {str(path)!r}: {error.strerror}.") from None

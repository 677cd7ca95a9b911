"""A reader of event files: protobuf's own, told what TensorBoard's event.proto says."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from onnxbf.training.event_file import crc32c

_FIELD = descriptor_pb2.FieldDescriptorProto
_MESSAGES = {
    "Event": [
        ("wall_time", 1, _FIELD.TYPE_DOUBLE, ""),
        ("step", 2, _FIELD.TYPE_INT64, ""),
        ("file_version", 3, _FIELD.TYPE_STRING, ""),
        ("summary", 5, _FIELD.TYPE_MESSAGE, "Summary"),
        ("session_log", 7, _FIELD.TYPE_MESSAGE, "SessionLog"),
    ],
    "Summary": [("value", 1, _FIELD.TYPE_MESSAGE, "Value")],
    "Value": [
        ("tag", 1, _FIELD.TYPE_STRING, ""),
        ("simple_value", 2, _FIELD.TYPE_FLOAT, ""),
    ],
    "SessionLog": [("status", 1, _FIELD.TYPE_INT32, "")],
}


def _event_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="event.proto", package="t", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind, inner in fields:
            repeated = field == "value"
            message.field.add(
                name=field,
                number=number,
                type=kind,
                label=_FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL,
                type_name=f".t.{inner}" if inner else None,
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Event"))


EVENT = _event_class()


def payloads(data: bytes) -> Iterator[bytes]:
    """Those of whole records; a record that was cut off ends them."""
    while len(data) >= 12:
        (length,) = struct.unpack("<Q", data[:8])
        if len(data) < length + 16:
            return
        payload = data[12 : 12 + length]
        assert data[8:12] == _masked(data[:8])
        assert data[12 + length : 16 + length] == _masked(payload)
        yield payload
        data = data[16 + length :]


def events(path: Path) -> list[Any]:
    """The events of a file, parsed; none has fields that the messages above lack."""
    found = [EVENT.FromString(payload) for payload in payloads(path.read_bytes())]
    for event in found:
        known = EVENT.FromString(event.SerializeToString())
        known.DiscardUnknownFields()
        assert known == event
    return found


def curves(folder: Path) -> dict[str, dict[int, float]]:
    """The numbers of all files of a folder, by tag and step, none of them written twice."""
    found: dict[str, dict[int, float]] = {}
    for path in sorted(folder.glob("*tfevents*")):
        for event in events(path):
            for value in event.summary.value:
                curve = found.setdefault(value.tag, {})
                assert event.step not in curve, (value.tag, event.step)
                curve[event.step] = value.simple_value
    return found


def _masked(data: bytes) -> bytes:
    """crc32c/masked in TensorFlow's crc32c.h: Mask."""
    crc = crc32c(data)
    rotated = ((crc >> 15) | (crc << 17)) & 0xFFFFFFFF
    return ((rotated + 0xA282EAD8) % 2**32).to_bytes(4, "little")

"""What an ONNX model says of itself before its graph: versions and operator sets.

Read off the protobuf's outermost fields, so that a model of any size costs next to nothing.
Source: onnx.proto3 (field numbers); protobuf.dev, "Encoding".
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from onnxbf.errors import ModelError

# Field numbers: of ModelProto, of FunctionProto, of OperatorSetIdProto.
_IR_VERSION, _GRAPH, _OPSET_IMPORT, _FUNCTIONS = 1, 7, 8, 25
_FUNCTION_OPSET_IMPORT = 9
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}


@dataclass(frozen=True, slots=True)
class Header:
    """The IR version, and the newest version imported of each operator set by its domain."""

    ir_version: int
    opsets: dict[str, int]


def read_header(model: Path | bytes) -> Header:
    """The header of a model, given as a file or as its bytes.

    Raises:
        ModelError: no such file, or not an ONNX model, or one that is cut off.
    """
    if isinstance(model, bytes):
        return _read(io.BytesIO(model), len(model), "The model")
    if not os.path.isfile(model):
        raise ModelError(f"No model at {str(model)!r}: there is no such file.")
    with model.open("rb") as stream:
        return _read(stream, model.stat().st_size, repr(str(model)))


def _read(stream: BinaryIO, size: int, name: str) -> Header:
    ir_version, has_graph = 0, False
    opsets: dict[str, int] = {}
    try:
        for field, value, end in _fields(stream, size):
            if field == _IR_VERSION:
                ir_version = value
            elif field == _GRAPH:
                has_graph = True
            elif field == _OPSET_IMPORT:
                _add_opset(opsets, stream, end)
            elif field == _FUNCTIONS:
                _add_function_opsets(opsets, stream, end)
    except (ValueError, UnicodeDecodeError) as error:
        raise ModelError(f"{name} is not an ONNX model, or is cut off: {error}.") from None
    if not ir_version or not has_graph:
        raise ModelError(f"{name} is not an ONNX model: it holds no graph.")
    return Header(ir_version, opsets)


def _add_function_opsets(opsets: dict[str, int], stream: BinaryIO, end: int) -> None:
    for field, _, inner_end in _fields(stream, end):
        if field == _FUNCTION_OPSET_IMPORT:
            _add_opset(opsets, stream, inner_end)


def _add_opset(opsets: dict[str, int], stream: BinaryIO, end: int) -> None:
    domain, version = "", 0
    for field, value, inner_end in _fields(stream, end):
        if field == _OPSET_DOMAIN:
            domain = stream.read(inner_end - stream.tell()).decode()
        elif field == _OPSET_VERSION:
            version = value
    domain = "" if domain == "ai.onnx" else domain
    opsets[domain] = max(version, opsets.get(domain, 0))


def _fields(stream: BinaryIO, end: int) -> Iterator[tuple[int, int, int]]:
    """Each field up to ``end``: its number, its value if it is a varint, and where it ends.

    While the caller looks at a field the stream stands at its contents.
    """
    while stream.tell() < end:
        field, wire_type = divmod(_varint(stream), 8)
        value = _varint(stream) if wire_type in (_VARINT, _BYTES) else 0
        if wire_type not in (_VARINT, _BYTES, *_FIXED_SIZES):
            raise ValueError(f"no field begins at byte {stream.tell()}")
        length = value if wire_type == _BYTES else _FIXED_SIZES.get(wire_type, 0)
        field_end = stream.tell() + length
        if field_end > end:
            raise ValueError(f"{field_end} bytes are announced, {end} are there")
        yield field, value, field_end
        stream.seek(field_end)


def _varint(stream: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = stream.read(1)
        if not byte:
            break
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError(f"a number breaks off at byte {stream.tell()}")

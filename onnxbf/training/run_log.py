"""What a run did, as JSON lines: one object for each step, epoch and measurement."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from onnxbf.errors import ModelError

L = TypeVar("L", bound="RunLog")
_MOST = 1 << 16  # bytes that wait to be written


class RunLog:
    """A file that grows by whole lines.

    Args:
        path: the file; it is made, or gone on with.
        size: what is kept of it, in bytes: what was written after the checkpoint that a run is
            resumed from will be written again.

    Raises:
        ModelError: the file cannot be written, then or later.
    """

    def __init__(self, path: Path, size: int = 0) -> None:
        self._path, self._pending = path, bytearray()
        try:
            self._file = path.open("ab", buffering=0)
            self._file.truncate(size)
        except OSError as error:
            raise ModelError(f"Cannot write {str(path)!r}: {error.strerror}.") from None

    def __enter__(self: L) -> L:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        with self._file, contextlib.suppress(*([] if kind is None else [ModelError])):
            self.flush()  # what failed before is told, not that this fails for the same reason

    def write(self, record: Mapping[str, Any]) -> None:
        """Add one line. JSON has no infinities and NaN: they become text."""
        text = json.dumps({key: _plain(value) for key, value in record.items()}, allow_nan=False)
        self._pending += text.encode() + b"\n"
        if len(self._pending) > _MOST:
            self.flush()

    def flush(self) -> int:
        """Have every line in the file; returns its size in bytes."""
        try:
            while self._pending:
                del self._pending[: self._file.write(self._pending)]
        except OSError as error:
            raise ModelError(
                f"Cannot write {str(self._path)!r}: {error.strerror}. Make room, and go on with "
                "--resume."
            ) from None
        return self._file.tell()


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return value

"""Clicks in .tsv files, as Criteo gives them out."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxbf.errors import DataError
from onnxbf.studies.task import LABELS, Task

Array = NDArray[Any]
NUMBERS, FIELDS, VALUES = 13, 26, 1000  # VALUES: rows that each field's values share by a hash
MOST = 500_000  # lines that are read
_COLUMNS = 1 + NUMBERS + FIELDS
_TESTED = 5  # the last fifth of the lines is what is tested on


def open_click_log(folder: Path) -> Task:
    """Of the first 500,000 lines, ``x`` (N, 13), ``fields`` (N, 26), and clicks (N, 1).

    A line is a click, 0 or 1, 13 whole numbers and 26 categories, any of which may be missing, with
    tabulators between. Numbers are taken as sign(n) log(1 + |n|), and as 0 where they are missing.

    Raises:
        DataError: a line that is not of this form, or fewer lines than can be divided.
    """
    rows = [*itertools.islice(_rows(folder), MOST)]
    if len(rows) < _TESTED:
        raise DataError(
            f"{str(folder)!r} holds {len(rows)} lines: expected at least {_TESTED}, to learn from "
            "and to test on."
        )
    clicked, numbers, fields = (np.array(column) for column in zip(*rows))
    data = {
        "x": (np.sign(numbers) * np.log1p(np.abs(numbers))).astype(np.float32),
        "fields": fields + VALUES * np.arange(FIELDS),
        LABELS: clicked.astype(np.float32)[:, None],
    }
    split = len(rows) - len(rows) // _TESTED
    return Task(*({k: v[part] for k, v in data.items()} for part in _halves(split)))


def _halves(split: int) -> tuple[slice, slice]:
    return slice(split), slice(split, None)


def _rows(folder: Path) -> Iterator[tuple[int, list[float], list[int]]]:
    for path in sorted(folder.glob("*.tsv")):
        with path.open(encoding="utf-8", errors="replace") as file:
            for number, line in enumerate(file, 1):
                yield _row(line.rstrip("\r\n").split("\t"), f"Line {number} of {str(path)!r}")


def _row(cells: list[str], place: str) -> tuple[int, list[float], list[int]]:
    if len(cells) != _COLUMNS:
        raise DataError(f"{place} has {len(cells)} columns: expected {_COLUMNS}.")
    if cells[0] not in ("0", "1"):
        raise DataError(f"{place} begins with {cells[0]!r}: expected a click, 0 or 1.")
    try:
        numbers = [float(cell or 0) for cell in cells[1 : 1 + NUMBERS]]
    except ValueError:
        raise DataError(
            f"{place}: expected {NUMBERS} numbers, or nothing, after the click."
        ) from None
    fields = [zlib.crc32(cell.encode()) % VALUES for cell in cells[1 + NUMBERS :]]
    return int(cells[0]), numbers, fields

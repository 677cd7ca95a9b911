"""Data in files: ``.npz``, ``.npy``, folders of these, and folders of Hugging Face ``datasets``.

Numbers that stand in a file as they are in memory are mapped, so that data may be larger than
memory; the members of an ``.npz`` file too, where they are not compressed.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from onnxbf.errors import DataError, UnsupportedError
from onnxbf.training.examples import Arrays, Field, Index, Rows

Array = NDArray[Any]

_HEADERS: Mapping[tuple[int, int], Callable[[Any], Any]] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_LOCAL_HEADER = 30  # bytes of a member's header in a zip file, before its name and extra field
_FORMS = "an .npz file, an .npy file or a folder of them, or a folder that datasets saved"


def open_path(path: Path) -> Rows:
    """The data in a file or folder.

    Raises:
        DataError: neither of the known forms, or one that cannot be read.
        UnsupportedError: a package is missing that reads this form.
    """
    if path.is_dir():
        return _open_folder(path)
    if path.suffix == ".npz":
        return Arrays(_read_npz(path), repr(str(path)))
    if path.suffix == ".npy":
        return Arrays({path.stem: _map_npy(path)}, repr(str(path)))
    raise DataError(f"{str(path)!r} is not data: expected {_FORMS}.")


def _open_folder(path: Path) -> Rows:
    if (path / "dataset_dict.json").is_file():
        splits = sorted(child.name for child in path.iterdir() if child.is_dir())
        raise DataError(
            f"{str(path)!r} holds several data sets: choose one of the folders {', '.join(splits)} "
            "in it."
        )
    if (path / "dataset_info.json").is_file():
        return Columns(path)
    files = sorted(path.glob("*.npy"))
    if not files:
        raise DataError(f"{str(path)!r} holds no data: expected {_FORMS}.")
    return Arrays({file.stem: _map_npy(file) for file in files}, repr(str(path)))


def _map_npy(path: Path) -> Array:
    try:
        array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise _unreadable(path, error) from None
    return array


def _read_npz(path: Path) -> dict[str, Array]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            return {
                info.filename.removesuffix(".npy"): _member(path, archive, info) for info in members
            }
    except (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise _unreadable(path, error) from None


def _member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Array:
    """An array of an ``.npz`` file: mapped where it stands there as it is, else read."""
    if info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1:  # not encrypted
        with path.open("rb") as file:
            mapped = _map_member(path, file, info)
        if mapped is not None:
            return mapped
    with archive.open(info) as member:
        read: Array = np.lib.format.read_array(member, allow_pickle=False)
    return read


def _map_member(path: Path, file: IO[bytes], info: zipfile.ZipInfo) -> Array | None:
    """The numbers of a member that is not compressed; None for a header of an unknown version."""
    file.seek(info.header_offset)
    header = file.read(_LOCAL_HEADER)
    name, extra = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
    start = file.seek(name + extra, 1)
    read_header = _HEADERS.get(np.lib.format.read_magic(file))
    if read_header is None:
        return None
    shape, fortran, dtype = read_header(file)
    if dtype.hasobject:
        return None  # refused where it is read
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if file.tell() + size != start + info.file_size:
        raise ValueError(f"{info.filename} is not as long as its header says")
    if size == 0:
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", file.tell(), shape, "F" if fortran else "C")


def _unreadable(path: Path, error: Exception) -> DataError:
    told = str(getattr(error, "strerror", None) or error).rstrip(".")
    return DataError(f"Cannot read data from {str(path)!r}: {told}.")


class Columns(Rows):
    """The columns of numbers of a folder that ``datasets.Dataset.save_to_disk`` wrote.

    Raises:
        UnsupportedError: the package datasets is not installed.
        DataError: no column of numbers; missing numbers; lists of different lengths, here or when
            they are taken.
    """

    def __init__(self, path: Path) -> None:
        try:
            import datasets
        except ImportError:
            raise UnsupportedError(
                f"{str(path)!r} is a folder of Hugging Face datasets: pip install "
                "'onnxbf[datasets]' to read it."
            ) from None
        try:
            dataset = datasets.load_from_disk(str(path))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _unreadable(path, error) from None
        source, dtypes = _numbers(path, dataset.features)
        # One view for each column: a format's dtype holds for all of its columns, and without one
        # whole numbers become int64 and all others float32.
        self._views = {
            name: dataset.with_format("numpy", columns=[name], dtype=dtype)
            for name, dtype in dtypes.items()
        }
        if not self._views or not len(dataset):
            raise DataError(f"{source} holds no examples of numbers.")
        for name in self._views:
            missing = sum(map(_missing, dataset.data.column(name).chunks))
            if missing:
                raise DataError(f"{source}: {missing} numbers of column {name!r} are missing.")
        first = {name: self._column(name, slice(0, 1)) for name in self._views}
        fields = {name: Field(array.dtype, array.shape[1:]) for name, array in first.items()}
        super().__init__(fields, len(dataset), source)

    def take(self, index: Index) -> dict[str, Array]:
        return {name: self._checked(name, self._column(name, index)) for name in self._views}

    def _column(self, name: str, index: Index) -> Array:
        rows = index if isinstance(index, slice) else index.tolist()
        column: Array = np.require(self._views[name][rows][name], requirements=["C", "O"])
        return column

    def _checked(self, name: str, column: Array) -> Array:
        field = self.fields[name]
        if column.dtype == field.dtype and column.shape[1:] == field.shape:
            return column
        raise DataError(
            f"{self.source}: not every example of column {name!r} has shape {field.shape}, which "
            "the first has: pad them to the same."
        )


def _numbers(path: Path, features: Mapping[str, Any]) -> tuple[str, dict[str, np.dtype[Any]]]:
    """What to call the data, and the types of its columns of numbers."""
    found = {name: _number_type(feature) for name, feature in features.items()}
    others = ", ".join(name for name, dtype in found.items() if dtype is None)
    told = f" (without {others}, no numbers)" if others else ""
    return f"{str(path)!r}{told}", {
        name: dtype for name, dtype in found.items() if dtype is not None
    }


def _missing(array: Any) -> int:
    """How many numbers or lists a column of Arrow's lacks."""
    array = getattr(array, "storage", array)  # of an extension type
    inner = _missing(array.flatten()) if hasattr(array.type, "value_type") else 0
    return int(array.null_count) + inner


def _number_type(feature: Any) -> np.dtype[Any] | None:
    """The type of the numbers of a column, or of the lists in it; None for text, images ..."""
    while hasattr(feature, "feature"):
        feature = feature.feature
    try:
        found = np.dtype(getattr(feature, "dtype", "") or "O")
    except TypeError:
        return None
    return found if found.kind in "biuf" else None

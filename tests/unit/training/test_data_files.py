"""Data in files: what is mapped and what is read, byte orders, and files that are not whole."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from onnxbf.errors import DataError, UnsupportedError
from onnxbf.training.data import open_data
from onnxbf.training.data_files import Columns, open_path
from onnxbf.training.examples import Arrays, Field, Rows

Array = NDArray[Any]

_X = np.arange(24, dtype=np.float32).reshape(6, 2, 2)
_Y = np.arange(6, dtype=np.uint8)
_ALL = slice(0, 6)


def _is_mapped(data: Rows, name: str) -> bool:
    assert isinstance(data, Arrays)
    base: Any = data._arrays[name]
    while base is not None and not isinstance(base, np.memmap):
        base = getattr(base, "base", None)
    return base is not None


def test_stored_members_are_mapped(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", y=_Y, x=_X, f=np.asfortranarray(_X))
    data = open_path(tmp_path / "d.npz")
    assert data.names == ("y", "x", "f")
    assert data.fields["x"] == Field(np.dtype(np.float32), (2, 2))
    assert all(_is_mapped(data, name) for name in data.names)
    taken = data.take(np.array([5, 0, 3]))
    np.testing.assert_array_equal(taken["x"], _X[[5, 0, 3]])
    np.testing.assert_array_equal(taken["f"], _X[[5, 0, 3]])
    np.testing.assert_array_equal(taken["y"], [5, 0, 3])


def test_compressed_members_are_read(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "d.npz", x=_X)
    data = open_path(tmp_path / "d.npz")
    assert not _is_mapped(data, "x")
    np.testing.assert_array_equal(data.take(_ALL)["x"], _X)


@pytest.mark.parametrize("extra", [b"", b"ab\x01\x00z"])
def test_members_are_found_behind_extra_fields(tmp_path: Path, extra: bytes) -> None:
    """Zip files of other programs have local headers of other lengths than NumPy's."""
    np.save(tmp_path / "x.npy", _X)
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
        archive.writestr("readme.txt", "not an array")
        info = zipfile.ZipInfo("x.npy")
        info.extra = extra
        archive.writestr(info, (tmp_path / "x.npy").read_bytes())
    data = open_path(tmp_path / "d.npz")
    assert _is_mapped(data, "x")
    np.testing.assert_array_equal(data.take(_ALL)["x"], _X)


def test_a_folder_of_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", _X)
    np.save(tmp_path / "labels.npy", _Y)
    (tmp_path / "notes.txt").write_text("of no concern")
    data = open_path(tmp_path)
    assert data.names == ("images", "labels") and data.length == 6
    assert _is_mapped(data, "images")
    np.testing.assert_array_equal(data.take(_ALL)["labels"], _Y)


def test_one_array(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", _X)
    assert open_path(tmp_path / "x.npy").names == ("x",)


@pytest.mark.parametrize("index", [slice(1, 4), np.array([4, 1])])
@pytest.mark.parametrize("dtype", [">f4", "<f4"])
def test_batches_are_as_the_machine_has_numbers(
    tmp_path: Path, dtype: str, index: slice | Array
) -> None:
    np.savez(tmp_path / "d.npz", odd=np.zeros(6, np.uint8), x=np.asfortranarray(_X.astype(dtype)))
    data = open_path(tmp_path / "d.npz")
    taken = data.take(index)["x"]
    assert taken.dtype == data.fields["x"].dtype == np.float32
    assert taken.dtype.isnative
    assert taken.flags.c_contiguous and taken.flags.aligned and taken.flags.writeable
    assert type(taken) is np.ndarray
    np.testing.assert_array_equal(taken, _X[index])


def test_what_is_taken_may_be_written_on() -> None:
    x = _X.copy()
    Arrays({"x": x}).take(_ALL)["x"][:] = 0
    np.testing.assert_array_equal(x, _X)


def _save(path: Path, **arrays: Any) -> str:
    np.savez(path / "d.npz", **arrays)
    return str(path / "d.npz")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": _X, "y": _Y[:5]}, "different lengths: x 6, y 5"),
        ({"x": _X[:0]}, "no examples"),
        ({}, "no examples"),
        ({"x": np.float32(1)}, "'x' is float32 of shape ()"),
        ({"x": np.array("a")}, "'x' is <U1 of shape"),
        ({"x": np.ones(2, np.complex64)}, "'x' is complex64"),
        ({"x": np.array([{}, []], dtype=object)}, "Cannot read data from .*d.npz"),
    ],
)
def test_arrays_that_are_no_data(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    text = _save(tmp_path, **arrays)
    with pytest.raises(DataError, match=message):
        open_data(text)


def test_text_is_mapped_and_given_as_objects(tmp_path: Path) -> None:
    words = ["red", "grün", "blue", "gray"]
    encoded = np.array([word.encode() for word in words])[:, None]
    data = open_data(_save(tmp_path, words=np.array(words), encoded=encoded, y=np.arange(4)))
    assert {name: str(field) for name, field in data.fields.items()} == {
        "words": "text[batch]",
        "encoded": "text[batch, 1]",
        "y": "int64[batch]",
    }
    (first, second) = data.batches(2, np.random.default_rng(0), 0)
    order = [*first["y"], *second["y"]]
    for name in ("words", "encoded"):
        given = np.concatenate([first[name], second[name]]).reshape(-1)
        assert given.dtype == object and [*given] == [words[place] for place in order]
    bad = open_data(_save(tmp_path, words=np.array([b"\xff"])))
    with pytest.raises(DataError, match=r"Text b'\\xff' of the data is not in UTF-8"):
        next(bad.batches(1, None, 0))


@pytest.mark.parametrize("compressed", [False, True])
def test_files_cut_off_anywhere_are_refused(tmp_path: Path, compressed: bool) -> None:
    save = np.savez_compressed if compressed else np.savez
    save(tmp_path / "d.npz", x=_X, y=_Y)
    whole = (tmp_path / "d.npz").read_bytes()
    for size in range(0, len(whole), 7):
        (tmp_path / "d.npz").write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"Cannot read data from .*d\.npz"):
            open_path(tmp_path / "d.npz")


def test_arrays_cut_off_anywhere_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", _X)
    whole = (tmp_path / "x.npy").read_bytes()
    for size in range(0, len(whole), 7):
        (tmp_path / "x.npy").write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"x\.npy"):
            open_path(tmp_path / "x.npy")


def test_a_member_longer_than_its_header_says_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", _X)
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
        archive.writestr("x.npy", (tmp_path / "x.npy").read_bytes() + b"more")
    with pytest.raises(DataError, match=r"x\.npy is not as long as its header says"):
        open_path(tmp_path / "d.npz")


def test_what_is_no_data(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("1,2")
    for text in (str(tmp_path), str(tmp_path / "d.csv")):
        with pytest.raises(DataError, match=r"expected an \.npz file"):
            open_data(text)
    with pytest.raises(DataError, match="no such file or folder"):
        open_data(str(tmp_path / "missing.npz"))


def test_a_folder_of_splits_names_them(tmp_path: Path) -> None:
    (tmp_path / "dataset_dict.json").write_text("{}")
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
    with pytest.raises(DataError, match="choose one of the folders test, train"):
        open_path(tmp_path)


def test_the_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dataset_info.json").write_text("{}")
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(UnsupportedError, match=r"pip install 'onnxbf\[datasets\]'"):
        open_path(tmp_path)


def _hugging_face(path: Path, columns: dict[str, Any], features: dict[str, str] | None) -> Rows:
    datasets = pytest.importorskip("datasets")
    made = datasets.Dataset.from_dict(
        columns,
        features=features
        and datasets.Features(
            {name: eval(text, vars(datasets)) for name, text in features.items()}
        ),
    )
    made.save_to_disk(str(path))
    return open_path(path)


def test_columns_of_hugging_face_keep_their_types(tmp_path: Path) -> None:
    columns = {
        "text": ["a", "b", "c"],
        "bytes": [[1, 2], [3, 4], [5, 255]],
        "image": np.arange(12, dtype=np.float32).reshape(3, 2, 2).tolist(),
        "wide": [0.1, 0.2, 0.3],
        "big": [1, 2**62 + 1, 3],
        "label": [0, 1, 0],
    }
    features = {
        "text": "Value('string')",
        "bytes": "Sequence(Value('uint8'))",
        "image": "Array2D((2, 2), 'float32')",
        "wide": "Value('float64')",
        "big": "Value('uint64')",
        "label": "ClassLabel(names=['no', 'yes'])",
    }
    data = _hugging_face(tmp_path / "d", columns, features)
    assert isinstance(data, Columns)
    assert data.source.endswith("/d' (without text, no numbers)")
    assert {name: str(field) for name, field in data.fields.items()} == {
        "bytes": "uint8[batch, 2]",
        "image": "float32[batch, 2, 2]",
        "wide": "float64[batch]",
        "big": "uint64[batch]",
        "label": "int64[batch]",
    }
    for index in (slice(1, 3), np.array([2, 1])):
        taken = data.take(index)
        for name, array in taken.items():
            expected = np.array(columns[name], dtype=data.fields[name].dtype)[index]
            np.testing.assert_array_equal(array, expected)
            assert array.dtype == data.fields[name].dtype and array.flags.c_contiguous


def test_ragged_and_missing_columns_are_refused(tmp_path: Path) -> None:
    data = _hugging_face(tmp_path / "a", {"x": [[1, 2], [3]]}, None)
    with pytest.raises(DataError, match="not every example of column 'x' has shape"):
        data.take(np.array([1]))
    for place, column in enumerate(([1, None], [[1, None], [2, 3]], [[[1], [2]], [[3], [None]]])):
        with pytest.raises(DataError, match="1 numbers of column 'x' are missing"):
            _hugging_face(tmp_path / f"b{place}", {"x": column}, None)
    with pytest.raises(DataError, match="no examples of numbers"):
        _hugging_face(tmp_path / "c", {"x": ["a"]}, None)

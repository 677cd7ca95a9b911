"""Data fitted to a model's inputs: by name, by type, by size; and labels in range."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxbf.errors import DataError
from onnxbf.graph import LABEL, mark_kind
from onnxbf.training.batching import Batches
from onnxbf.training.data import check_labels, match_inputs
from onnxbf.training.examples import Arrays

_FLOAT, _INT64 = ir.DataType.FLOAT, ir.DataType.INT64


def _input(name: str, shape: list[Any] | None, dtype: ir.DataType = _FLOAT) -> ir.Value:
    made = None if shape is None else ir.Shape(shape)
    return ir.Value(name=name, type=ir.TensorType(dtype), shape=made)


def _labels(shape: list[Any] | None = None, dtype: ir.DataType = _INT64) -> ir.Value:
    made = _input("labels", shape or ["N"], dtype)
    mark_kind(made, LABEL)
    return made


_IMAGES = _input("images", ["N", 3])


def _data(**arrays: Any) -> Arrays:
    return Arrays({name: np.asarray(array) for name, array in arrays.items()})


_X, _Y = np.zeros((4, 3), np.float32), np.zeros(4, np.int64)


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"labels": _Y, "images": _X, "other": _X}, {"images": "images", "labels": "labels"}),
        ({"x": _X, "y": _Y}, {"images": "x", "labels": "y"}),
        ({"y": _Y, "x": _X}, {"images": "x", "labels": "y"}),
        ({"images": _X, "kind": _Y}, {"images": "images", "labels": "kind"}),
        ({"images": _X, "kind": _Y, "Target": _Y}, {"images": "images", "labels": "Target"}),
        ({"pixels": _X, "labels": _Y}, {"images": "pixels", "labels": "labels"}),
    ],
)
def test_names(arrays: dict[str, Any], expected: dict[str, str]) -> None:
    match = match_inputs(_data(**arrays), [_IMAGES, _labels()])
    assert match.names == expected
    told = [note for note in match.notes if "takes" in note]
    assert len(told) == sum(to != of for to, of in expected.items())


@pytest.mark.parametrize(
    ("arrays", "input_"),
    [
        ({"a": _X, "b": _Y}, "images"),  # either might be either
        ({"images": _X, "b": _Y, "c": _Y}, "labels"),
        ({"images": _X, "y": _Y, "target": _Y}, "labels"),
        ({"a": _X, "c": _X, "y": _Y}, "images"),
        ({"images": _X}, "labels"),
    ],
)
def test_what_is_not_clear_is_refused(arrays: dict[str, Any], input_: str) -> None:
    with pytest.raises(DataError) as caught:
        match_inputs(_data(**arrays), [_IMAGES, _labels()])
    message = str(caught.value)
    assert f"The data has nothing for input {input_!r}" in message
    assert all(f"{name} " in message for name in arrays)


@pytest.mark.parametrize(
    ("found", "expected", "note"),
    [
        (np.int32, _INT64, None),
        (np.bool_, _FLOAT, None),
        (np.uint8, _FLOAT, "not scaled"),
        (np.float16, _FLOAT, None),
        (np.float64, _FLOAT, "rounded to float32"),
        (np.float64, ir.DataType.DOUBLE, None),
        (np.float32, ir.DataType.DOUBLE, None),
    ],
)
def test_types_that_widen(found: Any, expected: ir.DataType, note: str | None) -> None:
    x = np.array([0, 1, 1, 0]).astype(found)
    match = match_inputs(_data(x=x), [_input("x", ["N"], expected)])
    batch = match({"x": x, "other": x})
    assert list(batch) == ["x"] and batch["x"].dtype == expected.numpy()
    np.testing.assert_array_equal(batch["x"], x)
    assert [note in told for told in match.notes] == ([] if note is None else [True])


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (np.int64, ir.DataType.INT32),
        (np.int64, _FLOAT),
        (np.int32, _FLOAT),
        (np.float32, _INT64),
        (np.uint64, _INT64),
        (np.float32, ir.DataType.FLOAT16),
        (np.float64, ir.DataType.FLOAT16),
    ],
)
def test_types_that_would_lose_something(found: Any, expected: ir.DataType) -> None:
    name = np.dtype(found).name
    with pytest.raises(DataError, match=rf"Input 'x' .*which is {name}\[batch\]. Convert it to"):
        match_inputs(_data(x=np.zeros(4, found)), [_input("x", ["N"], expected)])


def test_text_and_numbers_do_not_fit_each_other() -> None:
    words, text = np.array(["a", "b"]), _input("x", ["N"], ir.DataType.STRING)
    assert match_inputs(_data(x=words), [text])({"x": words})["x"].dtype == object
    with pytest.raises(DataError, match=r"Input 'x' \(text\[N\]\) .*which is int64\[batch\]"):
        match_inputs(_data(x=np.arange(2)), [text])
    with pytest.raises(DataError, match=r"which is text\[batch\]"):
        match_inputs(_data(x=words), [_input("x", ["N"])])


@pytest.mark.parametrize("shape", [["N"], ["N", 4], ["N", 3, 1], []])
def test_shapes_that_do_not_fit(shape: list[Any]) -> None:
    with pytest.raises(DataError, match=r"Input 'x' .*cannot take 'x'.*float32\[batch, 3\]"):
        match_inputs(_data(x=_X), [_input("x", shape)])


@pytest.mark.parametrize("shape", [["N", 3], ["N", "M"], [4, 3], [None, 3], None])
def test_shapes_that_fit(shape: list[Any] | None) -> None:
    assert match_inputs(_data(x=_X), [_input("x", shape)]).names == {"x": "x"}


def test_a_fixed_batch_size() -> None:
    data = _data(x=np.zeros((9, 3), np.float32))
    match = match_inputs(data, [_input("x", [4, 3])])
    match.check_batches(Batches(data, 4, seed=0, drop_last=True))
    with pytest.raises(DataError, match="takes batches of 4, not of 2"):
        match.check_batches(Batches(data, 2, seed=0, drop_last=True))
    with pytest.raises(DataError, match=r"the last one of an epoch is shorter.*--drop-last"):
        match.check_batches(Batches(data, 4, seed=0))


@pytest.mark.parametrize(
    ("state", "series"), [([1, 4, 2], [4, 3]), ([1, "N", 2], ["N", 3]), (["L", "N", 2], ["N", 3])]
)
def test_examples_on_another_axis(state: list[Any], series: list[Any]) -> None:
    """As in the initial state of recurrent layers; labels tell which input is the odd one."""
    inputs = [_input("state", state), _input("series", series), _labels(series[:1])]
    arrays = {"state": np.arange(8, dtype=np.float32).reshape(4, 1, 2), "series": _X, "labels": _Y}
    match = match_inputs(_data(**arrays), inputs)
    batch = match(arrays)
    assert [*batch] == ["series", "labels", "state"]  # how long the first is tells a batch's size
    assert match.fixed_batch == ({} if "N" in series else {"state": 4, "series": 4, "labels": 4})
    assert batch["state"].flags.c_contiguous
    np.testing.assert_array_equal(batch["state"], arrays["state"].transpose(1, 0, 2))
    with pytest.raises(DataError, match=r"cannot take 'state', which is float32\[batch, 1, 3\]"):
        match_inputs(_data(**arrays | {"state": np.zeros((4, 1, 3), np.float32)}), inputs)


def test_labels_in_range() -> None:
    check_labels(np.array([0, 2, 1]), 3)
    check_labels(np.array([[0, -100], [2, 1]]), 3, ignore_index=-100)
    check_labels(np.array([], np.int64), 3)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 3, 9], "Label 3 of row 1 of the batch is out of range: expected 0 to 2, or -100"),
        ([0, -100, -1], "Label -1 of row 2 of the batch is out"),
        ([[0, 1], [2, 10**8]], r"Label 100000000 of row 1 at \(1,\) of the batch is out"),
    ],
)
def test_labels_out_of_range(labels: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_labels(np.array(labels), 3, ignore_index=-100)

"""Data that a function gives: found by name, called anew, its examples all alike."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxbf.errors import DataError
from onnxbf.training.data import open_data
from onnxbf.training.examples import BUFFER, Stream

_MODULE = """
import numpy as np
calls = []
def examples():
    calls.append(1)
    for i in range(7):
        yield {"x": np.full((2,), i, ">f4"), "y": i}
def listed(): return [{"x": 1.0}]
def uneven():
    yield {"x": np.zeros(2)}
    yield {"x": np.zeros(3)}
def broken():
    yield {"x": 1}
    raise KeyError("lost")
def nothing(): return ()
def bare(): return [1, 2]
def text(): return [{"x": "a"}, {"x": "bcd"}, {"x": np.array("ef", object)}, {"x": b"g"}]
def mixed(): return [{"x": "a"}, {"x": None}]
def pair(): return [{"x": 1j}]
def number(): return 3
value = 3
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module in the current folder, which is another for each test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "some_examples.py").write_text(_MODULE)
    yield "some_examples"
    sys.modules.pop("some_examples", None)


def test_a_function_of_the_current_folder(module: str) -> None:
    data = open_data(f"{module}:examples")
    assert data.names == ("x", "y") and data.length is None
    assert {name: str(field) for name, field in data.fields.items()} == {
        "x": "float32[batch, 2]",
        "y": "int64[batch]",
    }
    batches = list(data.batches(3, None, 0))
    assert [len(batch["y"]) for batch in batches] == [3, 3, 1]
    assert batches[0]["x"].dtype.isnative
    np.testing.assert_array_equal(np.concatenate([batch["x"][:, 1] for batch in batches]), range(7))


def test_it_is_called_anew_for_each_epoch(module: str) -> None:
    data = open_data(f"{module}:examples")
    for _ in range(2):
        assert len(list(data.batches(2, None, 0))) == 4
    assert len(sys.modules[module].calls) == 3  # once to see what it gives


def test_any_iterable_will_do(module: str) -> None:
    assert open_data(f"{module}:listed").fields["x"].dtype == np.float64


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "has no function 'missing'"),
        ("value", "has no function 'value'"),
        ("nothing", "gives no examples"),
        ("bare", "example 0 is int; expected a dictionary"),
        ("pair", "'x' of example 0 is complex128; expected numbers or text"),
        ("number", "fails with TypeError"),
    ],
)
def test_functions_that_are_no_data(module: str, name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_data(f"{module}:{name}")


def test_text_may_be_of_any_length(module: str) -> None:
    data = open_data(f"{module}:text")
    assert str(data.fields["x"]) == "text[batch]"
    batches = [batch["x"] for batch in data.batches(2, None, 0)]
    assert [*map(list, batches)] == [["a", "bcd"], ["ef", "g"]]
    with pytest.raises(DataError, match="'x' of example 1 is object; expected numbers or text"):
        list(open_data(f"{module}:mixed").batches(2, None, 0))


def test_a_module_that_is_not_there(module: str) -> None:
    with pytest.raises(DataError, match="fails with ModuleNotFoundError: No module named 'lost_'"):
        open_data("lost_:examples")


def test_what_fails_on_the_way_is_told_with_its_place(module: str) -> None:
    data = open_data(f"{module}:broken")
    with pytest.raises(DataError, match=r"KeyError: 'lost' \(.*some_examples.py, line 14\)"):
        list(data.batches(1, None, 0))


def test_examples_must_be_alike(module: str) -> None:
    data = open_data(f"{module}:uneven")
    with pytest.raises(DataError, match=r"example 1 holds x float64\[batch, 3\], but the first"):
        list(data.batches(2, None, 0))


def _numbers(count: int) -> Stream:
    return Stream(lambda: ({"x": number} for number in range(count)), "numbers")


def _order(data: Stream, seed: int) -> list[Any]:
    batches = data.batches(10, np.random.default_rng(seed), 0)
    return [int(number) for batch in batches for number in batch["x"]]


@pytest.mark.parametrize("count", [1, BUFFER - 1, BUFFER + 1, 3 * BUFFER])
def test_a_buffer_shuffles_without_loss(count: int) -> None:
    order = _order(_numbers(count), 0)
    assert sorted(order) == list(range(count))
    assert order == _order(_numbers(count), 0)
    assert count == 1 or order != _order(_numbers(count), 1)


def test_an_example_comes_at_most_a_buffer_early() -> None:
    order = _order(_numbers(4 * BUFFER), 0)
    assert all(number < place + BUFFER for place, number in enumerate(order))
    late = [place - number for place, number in enumerate(order)]
    assert max(late) > BUFFER  # and any number of places late


def test_only_what_is_asked_for_is_drawn() -> None:
    drawn = itertools.count()
    data = Stream(lambda: ({"x": next(drawn)} for _ in itertools.count()), "endless")
    batches = data.batches(4, None, 2)
    np.testing.assert_array_equal(next(batches)["x"], [9, 10, 11, 12])  # 0 was looked at

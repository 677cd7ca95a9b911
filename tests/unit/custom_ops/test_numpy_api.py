"""onnxbf.quantize."""

from __future__ import annotations

import numpy as np
import pytest

from onnxbf.custom_ops.numpy_api import quantize
from onnxbf.errors import NameUnknown, UnsupportedError
from onnxbf.formats import parse_cast
from onnxbf.philox import random_words
from onnxbf.rounding import round_array
from tests.implementations import Floats, same_bits

VALUES = np.random.default_rng(0).standard_normal((6, 10)).astype(np.float32)
VALUES.flags.writeable = False
ROUNDED = round_array(VALUES, parse_cast("bf16"))
KEY = {"seed": 2**64 - 1, "node": 2**32 - 1, "step": 17}


def test_the_example_of_the_docstring() -> None:
    rounded = quantize(np.float32([1.01, 3.14159, -0.1]), "bf16")
    assert rounded.tolist() == [1.0078125, 3.140625, -0.10009765625]


def test_the_result_is_new_and_the_input_untouched() -> None:
    before = VALUES.copy()
    rounded = quantize(VALUES, "bf16")
    assert same_bits(rounded, ROUNDED)
    assert rounded.dtype == np.float32
    assert not np.shares_memory(rounded, VALUES)
    assert same_bits(VALUES, before)


def test_a_cast_object_does_as_well_as_its_text() -> None:
    assert same_bits(quantize(VALUES, parse_cast("bf16")), ROUNDED)


@pytest.mark.parametrize("threads", [None, 1, 2])
def test_stochastic_rounding_draws_the_words_of_philox(threads: int | None) -> None:
    words = random_words(VALUES.size, **KEY, offset=5).reshape(VALUES.shape)
    wanted = round_array(VALUES, parse_cast("e4m3:sr{bits=9}"), words)
    assert same_bits(quantize(VALUES, "e4m3:sr{bits=9}", **KEY, offset=5, threads=threads), wanted)


def test_in_place() -> None:
    values = VALUES.copy()
    assert quantize(values, "bf16", out=values) is values
    assert same_bits(values, ROUNDED)


def test_into_another_array() -> None:
    target = np.empty_like(VALUES)
    assert quantize(VALUES, "bf16", out=target) is target
    assert same_bits(target, ROUNDED)


LAYOUTS = {
    "transposed": VALUES.T,
    "every second": VALUES[:, ::2],
    "backwards": VALUES[::-1],
    "broadcast": np.broadcast_to(VALUES[0], (4, 10)),
    "fortran": np.asfortranarray(VALUES),
    "not aligned": np.frombuffer(b"x" + VALUES.tobytes(), np.float32, offset=1),
    "scalar": VALUES[0, 0, ...],
    "empty": VALUES[:0],
    "slice": VALUES[1:3],
}


@pytest.mark.parametrize("values", LAYOUTS.values(), ids=LAYOUTS)
def test_any_layout(values: Floats) -> None:
    """Elements are counted in C order, whatever their order in memory."""
    words = random_words(values.size, **KEY).reshape(values.shape)
    rounded = quantize(values, "bf16:sr", **KEY)
    assert rounded.shape == values.shape
    assert rounded.flags.c_contiguous
    assert same_bits(
        rounded, round_array(np.ascontiguousarray(values), parse_cast("bf16:sr"), words)
    )


@pytest.mark.parametrize("shift", [-3, -1, 1, 3])
def test_overlapping_input_and_output(shift: int) -> None:
    space = np.random.default_rng(1).standard_normal(100).astype(np.float32)
    values, target = space[5:80], space[5 + shift : 80 + shift]
    wanted = round_array(values.copy(), parse_cast("bf16"))
    quantize(values, "bf16", out=target)
    assert same_bits(target, wanted)


def test_a_transposed_view_of_the_output() -> None:
    values = VALUES[:, :6].copy()
    wanted = round_array(values.T.copy(), parse_cast("bf16"))
    quantize(values.T, "bf16", out=values)
    assert same_bits(values, wanted)


@pytest.mark.parametrize("dtype", ["float64", "float16", "int32", ">f4"])
def test_other_types_are_refused(dtype: str) -> None:
    with pytest.raises(UnsupportedError, match=rf"array is of type {np.dtype(dtype)}.*astype"):
        quantize(np.ones(3, dtype), "bf16")


READ_ONLY = np.empty((6, 10), np.float32)
READ_ONLY.flags.writeable = False
UNUSABLE = [
    (np.empty((6, 10)), "out is of type float64"),
    (np.empty((10, 6), np.float32), r"out has shape \(10, 6\).*\(6, 10\)"),
    (np.empty((6, 20), np.float32)[:, ::2], "contiguous"),
    (READ_ONLY, "writeable"),
]


@pytest.mark.parametrize(("out", "told"), UNUSABLE)
def test_unusable_outputs_are_refused(out: Floats, told: str) -> None:
    with pytest.raises(UnsupportedError, match=told):
        quantize(VALUES, "bf16", out=out)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", -1),
        ("seed", 2**64),
        ("node", 2**32),
        ("step", -1),
        ("offset", -1),
        ("threads", 0),
    ],
)
def test_numbers_out_of_range_are_refused(name: str, value: int) -> None:
    with pytest.raises(UnsupportedError, match=f"{name}={value}: expected"):
        quantize(VALUES, "bf16", **{name: value})


def test_unknown_casts() -> None:
    with pytest.raises(NameUnknown, match="did you mean 'bf16'"):
        quantize(VALUES, "bf61")

"""Counting mismatches."""

from __future__ import annotations

import numpy as np

from onnxbf.custom_ops.tally import Tally

INPUTS = np.float32([1.0, 2.0, -0.0])


def test_equal_bits_are_no_mismatch() -> None:
    tally = Tally()
    nans = np.float32([np.nan, 1, 2])
    tally.compare("a", INPUTS, nans, nans.copy())
    assert tally == Tally(3, 0, "")


def test_zeros_of_other_sign_are_one() -> None:
    tally = Tally()
    tally.compare("a", INPUTS, np.float32([1, 2, 0.0]), np.float32([1, 2, -0.0]))
    assert tally == Tally(3, 1, "a: 0x80000000 gave 0x0, expected 0x80000000")


def test_the_first_example_is_kept() -> None:
    tally = Tally()
    got, wanted = np.uint16([1, 5, 9]), np.uint16([1, 6, 8])
    tally.compare("a", INPUTS, got, wanted)
    tally.compare("b", INPUTS, wanted, got)
    assert tally == Tally(6, 4, "a: 0x40000000 gave 0x5, expected 0x6")


def test_tallies_add_up() -> None:
    parts = [Tally(10, 0, ""), Tally(20, 2, "first"), Tally(30, 1, "second")]
    assert Tally().include(parts) == Tally(60, 3, "first")


def test_arrays_of_any_shape() -> None:
    tally, inputs = Tally(), np.zeros((2, 3), np.float32)
    wanted = inputs.copy()
    wanted[1, 2] = 7
    tally.compare("a", inputs, inputs, wanted)
    assert tally == Tally(6, 1, "a: 0x00000000 gave 0x0, expected 0x40e00000")

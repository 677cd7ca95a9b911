"""Counting how often kernels and their judges disagree."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(slots=True)
class Tally:
    """Results compared bit by bit: how many, how many of them differed, and the first that did."""

    cases: int = 0
    mismatches: int = 0
    example: str = ""

    def compare(
        self, label: str, inputs: NDArray[Any], got: NDArray[Any], wanted: NDArray[Any]
    ) -> None:
        """Count the elements of ``got`` whose bits are not those of ``wanted``.

        Args:
            label: what gave ``got``, for the example.
            inputs: what it was given, of the same shape.
        """
        wrong = bits(got) != bits(wanted)
        self.cases += wrong.size
        if not wrong.any():
            return
        self.mismatches += int(np.count_nonzero(wrong))
        place = np.unravel_index(int(wrong.argmax()), wrong.shape)
        values = (int(bits(array)[place]) for array in (inputs, got, wanted))
        self.example = self.example or "{}: {:#010x} gave {:#x}, expected {:#x}".format(
            label, *values
        )

    def include(self, others: Iterable[Tally]) -> Tally:
        """Add the counts of ``others``; returns itself."""
        for other in others:
            self.cases += other.cases
            self.mismatches += other.mismatches
            self.example = self.example or other.example
        return self


def bits(array: NDArray[Any]) -> NDArray[Any]:
    """The elements as unsigned integers of their size."""
    return array.view(f"u{array.dtype.itemsize}")

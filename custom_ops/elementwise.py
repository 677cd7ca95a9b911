"""Programs of elementwise float32 operations: what the attribute of ``Elementwise`` says, in NumPy.

    Mul y0 x0 s0; Sub t0 y0 x1; Mul t0 t0 s1; Add y1 x1 t0

Each step names an operator of ONNX, its result and its operands: x0, x1 ... are the inputs of a
group of tensors, s0 ... numbers that all groups share, t0 ... temporaries and y0 ... the outputs of
a group.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

MOST_TEMPORARIES = 16


def _maximum(a: Array, b: Array) -> Any:
    return np.where(np.isnan(a), a, np.where(np.isnan(b) | ~(a > b), b, a))


def _minimum(a: Array, b: Array) -> Any:
    return np.where(np.isnan(a), a, np.where(np.isnan(b) | ~(a < b), b, a))


def _sign(a: Array) -> Any:
    return np.where(np.isnan(a), a, (a > 0).astype(np.float32) - (a < 0).astype(np.float32))


def _relu(a: Array) -> Any:
    return np.where(np.isnan(a) | (a > 0), a, np.float32(0))


# Of equal numbers, zeros of both signs among them, Max and Min take the second.
OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Max": _maximum,
    "Min": _minimum,
    "Sqrt": np.sqrt,
    "Neg": np.negative,
    "Abs": np.abs,
    "Sign": _sign,
    "Relu": _relu,
}
OPERANDS: Mapping[str, int] = {
    name: 1 if name in ("Sqrt", "Neg", "Abs", "Sign", "Relu") else 2 for name in OPERATIONS
}


@dataclass(frozen=True, slots=True)
class Step:
    """One operation: its operator, where the result goes, and its operands."""

    operation: str
    result: str
    operands: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join((self.operation, self.result, *self.operands))


@dataclass(frozen=True, slots=True)
class Program:
    """Steps in their order."""

    steps: tuple[Step, ...]

    def count(self, kind: str) -> int:
        """How many places of a kind (x, s, t or y) there are."""
        names = (name for step in self.steps for name in (step.result, *step.operands))
        return max((int(name[1:]) + 1 for name in names if name[0] == kind), default=0)

    def run(self, inputs: Sequence[Array], shared: Sequence[Array]) -> list[Array]:
        """The outputs of one group; an input that is not of the first one's shape is one number."""
        shape = inputs[0].shape
        places = {f"x{index}": _fit(array, shape) for index, array in enumerate(inputs)}
        places |= {f"s{index}": np.reshape(array, ()) for index, array in enumerate(shared)}
        with np.errstate(all="ignore"):
            for step in self.steps:
                operands = [places[name] for name in step.operands]
                result = np.asarray(OPERATIONS[step.operation](*operands), np.float32)
                places[step.result] = np.broadcast_to(result, shape)
        return [np.array(places[f"y{index}"]) for index in range(self.count("y"))]

    def __str__(self) -> str:
        return "; ".join(map(str, self.steps))


def _fit(array: Array, shape: tuple[int, ...]) -> Array:
    return array if array.shape == shape else np.reshape(array, ())


def parse_program(text: str) -> Program:
    """Read a program; ValueError says what is wrong."""
    written: set[str] = set()
    return Program(tuple(_step(part.split(), written) for part in text.split(";")))


def _step(words: Sequence[str], written: set[str]) -> Step:
    if len(words) < 2 or OPERANDS.get(words[0]) != len(words) - 2:
        raise ValueError(f"{' '.join(words)!r} is no step")
    name, result, *operands = words
    for operand in operands:
        if operand[0] not in "xs" and operand not in written:
            raise ValueError(f"{' '.join(words)!r} reads {operand!r} before it is written")
    written.add(result)
    return Step(name, result, tuple(operands))

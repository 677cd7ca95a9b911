"""Programs of elementwise float32 operations: what the attribute of ``Elementwise`` says, in NumPy.

    Mul y0 x0 s0; Sub t0 y0 x1; Mul t0 t0 s1; Add y1 x1 t0

Each step names an operator of ONNX or a cast (``bf16:rne``), its result and its operands: x0, x1
... are the inputs of a group of tensors, s0 ... numbers that all groups share, t0 ... temporaries
and y0 ... the outputs of a group.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxbf.custom_ops.observation import observe_rounding
from onnxbf.formats import Rounding, parse_cast
from onnxbf.rounding import round_array

Array = NDArray[np.float32]

MOST_TEMPORARIES = 16


def _maximum(a: Array, b: Array) -> Any:
    return np.where(np.isnan(a), a, np.where(np.isnan(b) | ~(a > b), b, a))


def _minimum(a: Array, b: Array) -> Any:
    return np.where(np.isnan(a), a, np.where(np.isnan(b) | ~(a < b), b, a))


def _sign(a: Array) -> Any:
    return np.where(np.isnan(a), a, (a > 0).astype(np.float32) - (a < 0).astype(np.float32))


def _relu(a: Array) -> Any:
    return np.where(a < 0, np.float32(0), a)


def _relu_gradient(dy: Array, x: Array) -> Any:
    return np.where(x > 0, dy, np.float32(0))


# Of equal numbers, zeros of both signs among them, Max and Min take the second.
OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Max": _maximum,
    "Min": _minimum,
    "ReluGrad": _relu_gradient,
    "Sqrt": np.sqrt,
    "Neg": np.negative,
    "Abs": np.abs,
    "Sign": _sign,
    "Relu": _relu,
}
OPERANDS: Mapping[str, int] = {
    name: 1 if name in ("Sqrt", "Neg", "Abs", "Sign", "Relu") else 2 for name in OPERATIONS
}


_ROUNDS = ":"  # in the name of an operation that is a cast


@dataclass(frozen=True, slots=True)
class Step:
    """One operation: its operator or cast, where the result goes, and its operands."""

    operation: str
    result: str
    operands: tuple[str, ...]

    @property
    def rounds(self) -> bool:
        """Whether it is a cast."""
        return _ROUNDS in self.operation

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

    def run(
        self,
        inputs: Sequence[Array],
        shared: Sequence[Array],
        told: list[NDArray[np.float64]] | None = None,
    ) -> list[Array]:
        """The outputs of one group; an input that is not of the first one's shape is one number.

        Args:
            told: where to append what each step that rounds did, see ``observe_rounding``.
        """
        shape = inputs[0].shape
        places = {f"x{index}": _fit(array, shape) for index, array in enumerate(inputs)}
        places |= {f"s{index}": np.reshape(array, ()) for index, array in enumerate(shared)}
        with np.errstate(all="ignore"):
            for step in self.steps:
                operands = [places[name] for name in step.operands]
                result = np.asarray(_compute(step.operation, operands), np.float32)
                places[step.result] = np.broadcast_to(result, shape)
                if told is not None and step.rounds:
                    before = np.broadcast_to(operands[0], shape)
                    cast = parse_cast(step.operation)
                    told.append(observe_rounding(before, places[step.result], cast))
        return [np.array(places[f"y{index}"]) for index in range(self.count("y"))]

    def __str__(self) -> str:
        return "; ".join(map(str, self.steps))


def _fit(array: Array, shape: tuple[int, ...]) -> Array:
    """An input as NumPy broadcasts it to ``shape``, whose last dimensions it has, or one number."""
    if array.size == 1:
        return np.reshape(array, ())
    if array.shape != shape[len(shape) - array.ndim :]:
        raise ValueError(f"a tensor of shape {array.shape} among others of {shape}")
    return array


def _compute(operation: str, operands: Sequence[Array]) -> Any:
    if _ROUNDS in operation:
        return round_array(operands[0], parse_cast(operation))
    return OPERATIONS[operation](*operands)


def parse_program(text: str) -> Program:
    """Read a program; ValueError says what is wrong."""
    written: set[str] = set()
    return Program(tuple(_step(part.split(), written) for part in text.split(";")))


def _operands(operation: str) -> int | None:
    """How many operands an operation takes; None where there is none of this name."""
    if _ROUNDS not in operation:
        return OPERANDS.get(operation)
    stochastic = parse_cast(operation).rounding is Rounding.STOCHASTIC
    return None if stochastic else 1


def _step(words: Sequence[str], written: set[str]) -> Step:
    if len(words) < 2 or _operands(words[0]) != len(words) - 2:
        raise ValueError(f"{' '.join(words)!r} is no step")
    name, result, *operands = words
    for operand in operands:
        if operand[0] not in "xs" and operand not in written:
            raise ValueError(f"{' '.join(words)!r} reads {operand!r} before it is written")
    written.add(result)
    return Step(name, result, tuple(operands))

"""The state of training: tensors that ONNX Runtime reads and writes in place."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxbf.errors import ModelError
from onnxbf.graph import BUFFER, kind_of
from onnxbf.session import share

if TYPE_CHECKING:
    from onnxruntime import OrtValue

Array = NDArray[Any]


class Variables:
    """Named tensors, each in two copies: the present one is read while the next is written.

    ``advance`` makes the next copies the present ones. A step that is not to count is undone by not
    advancing.

    Args:
        initial: the present values, which are copied.
        groups: names that can advance without the others.

    Attributes:
        sides: which copy is present, for each group; names that are in none are the last group.
    """

    def __init__(
        self, initial: Mapping[str, Array], groups: Sequence[Collection[str]] = ()
    ) -> None:
        self._arrays = {
            name: (np.array(array, order="C"), np.empty_like(array, order="C"))
            for name, array in initial.items()
        }
        self._values = {
            name: (share(first), share(second)) for name, (first, second) in self._arrays.items()
        }
        self.sides = (0,) * (len(groups) + 1)
        self._groups = {name: index for index, group in enumerate(groups) for name in group}
        self._last = len(groups)

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def present(self, name: str) -> OrtValue:
        """The tensor that is read."""
        return self._values[name][self._side(name)]

    def coming(self, name: str) -> OrtValue:
        """The tensor that is written."""
        return self._values[name][1 - self._side(name)]

    def groups_of(self, names: Iterable[str]) -> frozenset[int]:
        """The groups, by number, that these names are in."""
        return frozenset(self._groups.get(name, self._last) for name in names)

    def advance(self, groups: Collection[int] | None = None) -> None:
        """Make the next copies the present ones: in all groups unless told."""
        moved = range(len(self.sides)) if groups is None else groups
        self.sides = tuple(side ^ (group in moved) for group, side in enumerate(self.sides))

    def clear(self) -> None:
        """Make the present values zero."""
        for array in self.arrays().values():
            array.fill(0)

    def arrays(self) -> dict[str, Array]:
        """The present values, on their own memory: the step after the next changes them."""
        return {name: pair[self._side(name)] for name, pair in self._arrays.items()}

    def load(self, arrays: Mapping[str, Array]) -> None:
        """Take over values.

        Raises:
            ModelError: a tensor is missing, or of another shape or type.
        """
        for name, mine in self.arrays().items():
            given = arrays.get(name)
            if given is None or given.shape != mine.shape or given.dtype != mine.dtype:
                found = "is missing" if given is None else f"is {given.dtype}{list(given.shape)}"
                raise ModelError(
                    f"Tensor {name!r} of the state {found}; expected {mine.dtype}"
                    f"{list(mine.shape)}."
                )
        for name, mine in self.arrays().items():
            np.copyto(mine, arrays[name])

    def _side(self, name: str) -> int:
        return self.sides[self._groups.get(name, self._last)]


class Store(NamedTuple):
    """The tensors that programs share: parameters with their slots, and buffers."""

    weights: Variables
    buffers: Variables

    def arrays(self) -> dict[str, Array]:
        """All of them by name, on the memory that training changes."""
        return {**self.weights.arrays(), **self.buffers.arrays()}

    def load(self, state: Mapping[str, Array]) -> None:
        """Take over what ``arrays`` gave; ModelError where it does not fit."""
        self.weights.load(state)
        self.buffers.load(state)


def make_store(
    gradient: ir.Model,
    state: Mapping[str, Array],
    groups: Sequence[Collection[str]] = (),
    renewed: Sequence[Collection[str]] = (),
) -> Store:
    """A store of initial values.

    Args:
        gradient: a gradient graph, whose inputs say what is a buffer.
        groups: of weights and slots, see ``Variables``.
        renewed: of buffers.
    """
    running = {value.name for value in gradient.graph.inputs if kind_of(value) == BUFFER}
    weights = {name: array for name, array in state.items() if name not in running}
    buffers = {name: array for name, array in state.items() if name in running}
    return Store(Variables(weights, groups), Variables(buffers, renewed))

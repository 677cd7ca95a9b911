"""The state of training: tensors that ONNX Runtime reads and writes in place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onnxbf.errors import ModelError
from onnxbf.session import share

if TYPE_CHECKING:
    from onnxruntime import OrtValue

Array = NDArray[Any]


class Variables:
    """Named tensors, each in two copies: the present one is read while the next is written.

    ``advance`` makes the next copies the present ones. A step that is not to count is undone by not
    advancing.
    """

    def __init__(self, initial: Mapping[str, Array]) -> None:
        self._arrays = {
            name: (np.array(array, order="C"), np.empty_like(array, order="C"))
            for name, array in initial.items()
        }
        self._values = {
            name: (share(first), share(second)) for name, (first, second) in self._arrays.items()
        }
        self.side = 0

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def present(self, name: str) -> OrtValue:
        """The tensor that is read."""
        return self._values[name][self.side]

    def coming(self, name: str) -> OrtValue:
        """The tensor that is written."""
        return self._values[name][1 - self.side]

    def advance(self) -> None:
        self.side = 1 - self.side

    def clear(self) -> None:
        """Make the present values zero."""
        for pair in self._arrays.values():
            pair[self.side].fill(0)

    def arrays(self) -> dict[str, Array]:
        """The present values, on their own memory: the step after the next changes them."""
        return {name: pair[self.side] for name, pair in self._arrays.items()}

    def load(self, arrays: Mapping[str, Array]) -> None:
        """Take over values.

        Raises:
            ModelError: a tensor is missing, or of another shape or type.
        """
        for name, pair in self._arrays.items():
            mine = pair[self.side]
            given = arrays.get(name)
            if given is None or given.shape != mine.shape or given.dtype != mine.dtype:
                found = "is missing" if given is None else f"is {given.dtype}{list(given.shape)}"
                raise ModelError(
                    f"Tensor {name!r} of the state {found}; expected {mine.dtype}"
                    f"{list(mine.shape)}."
                )
        for name, pair in self._arrays.items():
            np.copyto(pair[self.side], arrays[name])

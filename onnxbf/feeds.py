"""The arrays that a model is fed with, checked before a runtime complains in its own words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxbf.errors import ModelError, NameUnknown

# ONNX Runtime's names of the types that it takes from NumPy; strings are apart.
_TYPES: dict[str, np.dtype[Any]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(double)": np.dtype(np.float64),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(bool)": np.dtype(np.bool_),
    **{
        f"tensor({sign}int{bits})": np.dtype(f"{sign}int{bits}")
        for sign in ("", "u")
        for bits in (8, 16, 32, 64)
    },
}
_STRINGS = "tensor(string)"


def check_feeds(
    feeds: Mapping[str, Any], required: Mapping[str, str], optional: Mapping[str, str]
) -> dict[str, Any]:
    """``feeds`` as ONNX Runtime takes them; scalars become arrays of no dimension.

    Args:
        required, optional: types of the inputs that a model must and may be given, by name.

    Raises:
        NameUnknown: a name that is no input.
        ModelError: an input is missing, or of another type than the model expects.
    """
    known = {**required, **optional}
    for name in feeds:
        if name not in known:
            raise NameUnknown("input", name, known)
    for name, expected in required.items():
        if name not in feeds:
            raise ModelError(f"Input {name!r} is missing: the model expects a {expected}.")
    return {name: _checked(name, value, known[name]) for name, value in feeds.items()}


def _checked(name: str, value: Any, expected: str) -> Any:
    if not expected.startswith("tensor("):
        return value  # a sequence, map or optional: lists, dictionaries and None
    array: NDArray[Any] = np.asarray(value)
    if expected == _STRINGS and array.dtype.kind in "OUST":
        return array.astype(object)
    if expected not in _TYPES and expected != _STRINGS:
        raise ModelError(
            f"Input {name!r} is a {expected}, which ONNX Runtime takes from no NumPy array: let "
            "the model take float32 and begin with a Cast."
        )
    wanted = _TYPES.get(expected, np.dtype(np.str_))
    if array.dtype == wanted:
        return array
    raise ModelError(
        f"Input {name!r} is {array.dtype}, but the model expects {expected}: "
        f"convert it with .astype({wanted.name!r})."
    )

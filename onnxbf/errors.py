"""The errors that onnxbf raises on purpose.

    OnnxbfError
    ├── NameUnknown        a recipe, format, rounding ... that does not exist
    │   └── OptionUnknown  an option, or a key, that what is named does not have
    ├── SpecError          text of the form ``name{key=value,...}`` that cannot be read
    ├── ModelError         a file or graph that is not a usable ONNX model
    ├── DataError          data or labels that cannot be read, or do not fit the model
    ├── UnsupportedError   a request that is clear but cannot be met (says why)
    ├── RuntimeMissing     ONNX Runtime is absent, or older than the model
    └── KernelError        the kernel library is absent or unusable on this machine

Each message names the node, tensor or option, what was expected and what to do. The command
line prints it and exits with code 2. Anything else that escapes is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class OnnxbfError(Exception):
    """The root of every error that onnxbf raises on purpose."""


class NameUnknown(OnnxbfError):
    """A name that is in none of the tables; the message offers the nearest one."""

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        told = _offered(name, known)
        super().__init__(f"Unknown {kind} {name!r}: {told}{' ' + hint if hint else ''}")


class OptionUnknown(NameUnknown):
    """An option, or ``what`` else is chosen, that ``owner`` (such as "loss 'mse'") has not."""

    def __init__(self, owner: str, name: str, known: Iterable[str], what: str = "option") -> None:
        begun = owner[:1].upper() + owner[1:]
        OnnxbfError.__init__(self, f"{begun} has no {what} {name!r}: {_offered(name, known)}")


def _offered(name: str, known: Iterable[str]) -> str:
    choices = sorted(known)
    folded = {choice.casefold(): choice for choice in choices}
    near = difflib.get_close_matches(name.casefold(), folded, n=1)
    if near:
        return f"did you mean {folded[near[0]]!r}?"
    return f"known: {', '.join(choices)}." if choices else "it has none."


class SpecError(OnnxbfError):
    """Text of the form ``name{key=value,...}`` that cannot be read."""


class ModelError(OnnxbfError):
    """A file or graph that is not a usable ONNX model."""


class DataError(OnnxbfError):
    """Data or labels that cannot be read, or do not fit the model."""


class UnsupportedError(OnnxbfError):
    """A request that is clear but cannot be met; the message says why and what would do."""


class RuntimeMissing(OnnxbfError):
    """ONNX Runtime is not installed, or does not accept the model's version."""


class KernelError(OnnxbfError):
    """The kernel library is absent, or was built for another platform."""
